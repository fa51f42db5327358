/*
 * The service put together: one store, the ways to read and change it, and the log from which alone
 * it changes. What the log commits goes past the watchers first, who compare it with what is
 * stored, and into the store then; only after that is the call answered that asked for it.
 */
#include "service/user_service.h"

#include "core/clock.h"
#include "core/random.h"
#include "core/reactor.h"
#include "core/workpool.h"
#include "http2/grpc_method.h"
#include "service/user_store.h"
#include "service/user_unary.h"
#include "service/user_write.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH(name) "/users.v1.UserService/" name

struct user_service {
    struct user_store *store;
    struct user_writer writer;
    struct user_unary unary;
    struct user_lister *lister;
    struct user_watch *watch;
    struct user_streams streams;
    void (*state_changed)(void *context, enum commit_log_state state, const char *reason);
    void *state_context;
    uint64_t refused_revision; /* of the record at which recovery ended; 0 = none */
};

void user_service_methods(struct user_service *service, struct grpc_method *ret_methods)
{
    const struct grpc_method methods[USER_SERVICE_METHOD_COUNT] = {
        {.path = PATH("GetUser"), .handler = user_unary_get, .service = &service->unary},
        {.path = PATH("CreateUser"),
         .handler = user_unary_create,
         .service = &service->unary,
         .secret = true},
        {.path = PATH("UpdateUser"), .handler = user_unary_update, .service = &service->unary},
        {.path = PATH("DeleteUser"), .handler = user_unary_delete, .service = &service->unary},
        {.path = PATH("ListUsers"),
         .handler = user_lister_handle,
         .service = service->lister,
         .long_answers = true},
        {.path = PATH("WatchUser"),
         .kind = GRPC_METHOD_SERVER_STREAM,
         .handler = user_watch_handle,
         .service = service->watch},
        {.path = PATH("BatchCreateUsers"),
         .kind = GRPC_METHOD_BIDI_STREAM,
         .open = user_stream_open_batch,
         .service = &service->streams,
         .secret = true},
        {.path = PATH("SyncUsers"),
         .kind = GRPC_METHOD_BIDI_STREAM,
         .open = user_stream_open_sync,
         .service = &service->streams},
    };

    memcpy(ret_methods, methods, sizeof(methods));
}

static void on_reset_begin(void *context)
{
    struct user_service *service = context;

    user_store_clear(service->store);
}

static int on_reset_record(void *context, const struct commit_event *event)
{
    struct user_service *service = context;
    int result = user_store_apply(service->store, event);

    if (result != 0) {
        service->refused_revision = event->revision;
    }
    return result;
}

/* The program around us tells how many users there are. */
static void on_reset_end(void *context, uint64_t revision)
{
    (void)context;
    (void)revision;
}

static void on_events(void *context, const struct commit_event *events, size_t count)
{
    struct user_service *service = context;

    for (size_t i = 0; i < count; i++) {
        int result;

        user_watch_note(service->watch, &events[i]);
        result = user_store_apply(service->store, &events[i]);
        /* Every record was planned here, and checked then. Going on with a store that does not hold
         * what the log holds would be worse than ending. */
        assert(result == 0);
    }
}

static void on_state(void *context, enum commit_log_state state, const char *reason)
{
    struct user_service *service = context;

    if (state == COMMIT_LOG_FAILED || state == COMMIT_LOG_CLOSED) {
        service->writer.log_failed = true;
    }
    if (service->state_changed != NULL) {
        service->state_changed(service->state_context, state, reason);
    }
}

static const struct commit_log_callbacks log_callbacks = {
    .reset_begin = on_reset_begin,
    .reset_record = on_reset_record,
    .reset_end = on_reset_end,
    .events = on_events,
    .state = on_state,
};

int user_service_new(struct reactor *reactor, struct random_source *random, struct workpool *pool,
                     const struct user_service_options *options, struct user_service **ret_service)
{
    struct user_service *service = calloc(1, sizeof(*service));
    struct hash_seed seed;

    if (service == NULL) {
        return -ENOMEM;
    }
    random_fill(random, &seed, sizeof(seed));
    if (user_store_new(options->max_users, seed, &service->store) != 0 ||
        user_lister_new(reactor, service->store, random, &options->lister, &service->lister) != 0 ||
        user_watch_new(reactor, service->store, &options->watch, &service->watch) != 0) {
        user_service_free(service);
        return -ENOMEM;
    }
    service->writer = (struct user_writer){
        .store = service->store,
        .pool = pool,
        .clock = reactor->clock,
        .ids = {.random = random},
        .cost = {options->password_memory_kib, options->password_iterations},
    };
    service->unary = (struct user_unary){
        .store = service->store,
        .writer = &service->writer,
        .max_fields = options->max_fields,
        .password_rule = {options->password_min_length, options->password_max_length},
    };
    service->streams = (struct user_streams){
        .reactor = reactor,
        .writer = &service->writer,
        .options = options->streams,
    };
    list_init(&service->streams.hash_turns);
    *ret_service = service;
    return 0;
}

int user_service_start(struct user_service *service, struct commit_log *log,
                       void (*state_changed)(void *context, enum commit_log_state state,
                                             const char *reason),
                       void *context, char *problem)
{
    int result;

    service->state_changed = state_changed;
    service->state_context = context;
    service->writer.log = log;
    result = log->ops->start(log, &log_callbacks, service, problem);
    if (result == -EBADMSG && service->refused_revision != 0) {
        /* The log itself is whole, but what it says about users is not. */
        (void)snprintf(problem, WAL_PROBLEM_SIZE,
                       "record %llu of the log does not fit the records before it",
                       (unsigned long long)service->refused_revision);
        return WAL_E_DAMAGED;
    }
    return result;
}

uint64_t user_service_user_count(const struct user_service *service)
{
    return user_store_count(service->store);
}

void user_service_end_watches(struct user_service *service)
{
    user_watch_end(service->watch);
}

const struct user_lister *user_service_lister(const struct user_service *service)
{
    return service->lister;
}

const struct user_watch *user_service_watch(const struct user_service *service)
{
    return service->watch;
}

const struct user_streams *user_service_streams(const struct user_service *service)
{
    return &service->streams;
}

void user_service_free(struct user_service *service)
{
    if (service == NULL) {
        return;
    }
    user_watch_free(service->watch);
    user_lister_free(service->lister);
    user_writer_deinit(&service->writer);
    user_store_free(service->store);
    free(service);
}
