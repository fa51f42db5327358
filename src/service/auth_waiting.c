#include "service/auth_waiting.h"

#include "core/reactor.h"
#include "http2/grpc_call.h"

/* A call that waits, in its own memory. */
struct place {
    struct list link; /* in its connection's waiting_calls */
    struct grpc_call *call;
    void **slot; /* of the stage, where this is found */
};

static void leave(struct place *place)
{
    struct grpc_call_host *host = place->call->host;

    *place->slot = NULL;
    list_remove(&place->link);
    if (list_is_empty(&host->waiting_calls)) {
        list_remove(&host->waiting_link);
    }
}

static bool has_budget(const struct auth_waiting *waiting)
{
    return waiting->per_turn == 0 || waiting->checked < waiting->per_turn;
}

/* The next call of the next connection, which then has to wait for the others. */
static void serve_next(struct auth_waiting *waiting)
{
    struct grpc_call_host *host =
        CONTAINER_OF(waiting->hosts.next, struct grpc_call_host, waiting_link);
    struct place *place = CONTAINER_OF(host->waiting_calls.next, struct place, link);

    list_remove(&host->waiting_link);
    list_push_back(&waiting->hosts, &host->waiting_link);
    leave(place);
    waiting->count--;
    grpc_call_proceed(place->call);
}

/* A new turn. What these signatures cost is paid before that of calls that come in it. */
static void serve(struct timer *timer)
{
    struct auth_waiting *waiting = CONTAINER_OF(timer, struct auth_waiting, timer);

    waiting->turn_ns = waiting->reactor->now_ns;
    waiting->checked = 0;
    waiting->is_serving = true;
    while (!list_is_empty(&waiting->hosts) && has_budget(waiting)) {
        serve_next(waiting);
    }
    waiting->is_serving = false;
    if (waiting->count > 0) {
        /* The set has room for a timer that has just left it. */
        (void)reactor_start_timer(waiting->reactor, timer, 0);
    }
}

void auth_waiting_init(struct auth_waiting *waiting)
{
    list_init(&waiting->hosts);
    waiting->timer.fire = serve;
}

bool auth_waiting_is_due(const struct auth_waiting *waiting, const struct grpc_call *call)
{
    if (waiting->is_serving || waiting->per_turn == 0) {
        return false;
    }
    return waiting->count > 0 ||
           (waiting->turn_ns == call->host->reactor->now_ns && !has_budget(waiting));
}

bool auth_waiting_add(struct auth_waiting *waiting, struct grpc_call *call, void **slot)
{
    struct place *place = arena_alloc(&call->arena, sizeof(*place));
    struct grpc_call_host *host = call->host;

    waiting->reactor = host->reactor;
    if (place == NULL ||
        (waiting->count == 0 && reactor_start_timer(waiting->reactor, &waiting->timer, 0) != 0)) {
        return false;
    }
    if (host->waiting_calls.next == NULL) {
        list_init(&host->waiting_calls);
        list_init(&host->waiting_link);
    }
    if (list_is_empty(&host->waiting_calls)) {
        list_push_back(&waiting->hosts, &host->waiting_link);
    }
    *place = (struct place){.call = call, .slot = slot};
    list_init(&place->link);
    list_push_back(&host->waiting_calls, &place->link);
    *slot = place;
    waiting->count++;
    return true;
}

void auth_waiting_remove(struct auth_waiting *waiting, void **slot)
{
    leave(*slot);
    waiting->count--;
    if (waiting->count == 0) {
        reactor_stop_timer(waiting->reactor, &waiting->timer);
    }
}

void auth_waiting_note(struct auth_waiting *waiting, const struct grpc_call *call, uint64_t count)
{
    uint64_t now_ns = call->host->reactor->now_ns;

    if (waiting->turn_ns != now_ns) {
        waiting->turn_ns = now_ns;
        waiting->checked = 0;
    }
    waiting->checked += count;
}
