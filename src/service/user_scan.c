/*
 * A scan looks at the users one by one, in the order of their creation. Its place is a sequence, so
 * the store may change between two slices: a user that is there all the time is looked at once,
 * whoever comes and goes around it. Users that match are copied onto the page as they are met.
 *
 * To say how many match, a scan goes to the end, even when its page is full. A scan that need not
 * say it begins where its page begins and ends when it knows that there is a next one.
 *
 * Time: in one turn of the loop all scans together run for USER_LIST_SLICE_NS at most, whether in
 * the task or in the handler that began one. Each gets an equal share, then the next one has its
 * turn; who had none in this turn of the loop is first in the next. What is done with a scan that
 * has ended, such as the sending of its page, counts as well. The clock is looked at between
 * batches of users, which are the smaller the dearer the filter may be: how dear it is for a user
 * is not known before, and may be a thousand times as much as for the user before.
 *
 * Memory: scans that ended would pile up their pages at a client that takes none, for they were
 * begun when it had room. So a scan goes on only while there is room for its page, and rests
 * otherwise, which keeps its place among `max_scans`: that many pages wait here at most. When the
 * places are all taken, who begins anew gets that of the scan which has rested longest.
 */
#include "service/user_scan.h"

#include "core/clock.h"
#include "service/user_entry.h"
#include "service/user_filter.h"
#include "service/user_list.h"
#include "service/user_order.h"
#include "service/user_store.h"

#include <assert.h>

#define SLICE_NS     USER_LIST_SLICE_NS
#define BATCH_NS_MAX (SLICE_NS / 8) /* about what the dearest batch takes */
#define BATCH_COST   32             /* as user_filter_cost() has it */
#define REST_NS      (10 * CLOCK_NS_PER_MS)

/* Besides the results of a scan: it is not at its end. */
#define E_GO_ON USER_SCAN_E_RUNNING

static void run_task(struct reactor_task *task);
static void end_rests(struct timer *timer);

void user_scanner_init(struct user_scanner *scanner)
{
    list_init(&scanner->scans);
    list_init(&scanner->resting);
    scanner->timer.fire = end_rests;
    list_init(&scanner->task.link);
    scanner->task.run = run_task;
}

void user_scanner_deinit(struct user_scanner *scanner)
{
    assert(scanner->scan_count == 0);
    reactor_undefer(&scanner->task);
}

/* What is left of this turn's slice. */
static uint64_t time_left(struct user_scanner *scanner)
{
    if (scanner->turn_ns != scanner->reactor->now_ns) {
        scanner->turn_ns = scanner->reactor->now_ns;
        scanner->spent_ns = 0;
    }
    /* Below a batch nothing is begun any more. */
    return scanner->spent_ns + BATCH_NS_MAX <= SLICE_NS ? SLICE_NS - scanner->spent_ns : 0;
}

int user_scan_look_at(struct user_scan *scan, const struct user_entry *entry)
{
    struct user_filter_subject subject = {
        .message = user_entry_message(entry),
        .username = user_entry_username(entry),
        .email = user_entry_email(entry),
    };

    scan->at = user_entry_sequence(entry);
    scan->examined++;
    if (!user_filter_matches(scan->filter, &subject)) {
        return 0;
    }
    scan->matched++;
    return scan->at > scan->after ? user_page_offer(&scan->page, entry) : 0;
}

/* Looks at the next batch. Returns E_GO_ON or as the scan ends. */
static int run_batch(struct user_scanner *scanner, struct user_scan *scan,
                     struct user_order_cursor *cursor)
{
    const struct user_order *order = user_store_order(scanner->store);

    for (unsigned i = 0; i < scan->batch; i++) {
        const struct user_entry *entry = user_order_next(order, cursor);
        int result;

        if (entry == NULL || (scan->is_counted && scan->page.has_more)) {
            return 0;
        }
        if (scan->examined == scanner->max_users) {
            return USER_SCAN_E_TOO_FAR;
        }
        result = user_scan_look_at(scan, entry);
        if (result != 0) {
            return result;
        }
    }
    return E_GO_ON;
}

/* Runs one scan until it ends or has had its time, one batch at least. Returns like run_batch(). */
static int run_slice(struct user_scanner *scanner, struct user_scan *scan, uint64_t allowed_ns)
{
    struct clock_source *clock = scanner->reactor->clock;
    struct user_order_cursor cursor = user_order_after(user_store_order(scanner->store), scan->at);
    uint64_t start_ns = clock_monotonic_ns(clock);
    uint64_t examined = scan->examined;
    uint64_t now_ns;
    int result;

    do {
        result = run_batch(scanner, scan, &cursor);
        now_ns = clock_monotonic_ns(clock);
    } while (result == E_GO_ON && now_ns - start_ns + BATCH_NS_MAX <= allowed_ns);
    scanner->spent_ns += now_ns - start_ns;
    scanner->stats->slices++;
    scanner->stats->users_examined += scan->examined - examined;
    return result;
}

static void enter(struct user_scanner *scanner, struct user_scan *scan)
{
    list_push_back(&scanner->scans, &scan->link);
    scanner->scan_count++;
    scanner->stats->scans_running = scanner->scan_count;
    reactor_defer_slow(scanner->reactor, &scanner->task);
}

static void leave(struct user_scanner *scanner, struct user_scan *scan)
{
    list_remove(&scan->link);
    scanner->scan_count--;
    scanner->stats->scans_running = scanner->scan_count;
    if (scanner->scan_count == 0) {
        reactor_undefer(&scanner->task);
        reactor_stop_timer(scanner->reactor, &scanner->timer);
    }
}

static void end_rests(struct timer *timer)
{
    struct user_scanner *scanner = CONTAINER_OF(timer, struct user_scanner, timer);

    list_splice_back(&scanner->scans, &scanner->resting);
    reactor_defer_slow(scanner->reactor, &scanner->task);
}

/* Lays a scan without room aside. False when it may go on. */
static bool rest(struct user_scanner *scanner, struct user_scan *scan)
{
    if (scan->has_room == NULL || scan->has_room(scan)) {
        return false;
    }
    if (!timer_is_armed(&scanner->timer) &&
        reactor_start_timer(scanner->reactor, &scanner->timer, REST_NS) != 0) {
        return false; /* better than to rest for ever */
    }
    list_remove(&scan->link);
    list_push_back(&scanner->resting, &scan->link);
    return true;
}

/* Tells the owner, which takes its time too. */
static void end(struct user_scanner *scanner, struct user_scan *scan, int result)
{
    struct clock_source *clock = scanner->reactor->clock;
    uint64_t start_ns = clock_monotonic_ns(clock);

    leave(scanner, scan);
    scan->done(scan, result); /* the scan may be gone now */
    scanner->spent_ns += clock_monotonic_ns(clock) - start_ns;
}

static void run_task(struct reactor_task *task)
{
    struct user_scanner *scanner = CONTAINER_OF(task, struct user_scanner, task);
    uint64_t share_ns = SLICE_NS / scanner->scan_count;
    uint64_t left_ns;

    while (!list_is_empty(&scanner->scans) && (left_ns = time_left(scanner)) > 0) {
        struct user_scan *scan = CONTAINER_OF(scanner->scans.next, struct user_scan, link);
        int result;

        if (rest(scanner, scan)) {
            continue;
        }
        result = run_slice(scanner, scan, share_ns < left_ns ? share_ns : left_ns);
        if (result == E_GO_ON) {
            list_remove(&scan->link);
            list_push_back(&scanner->scans, &scan->link);
        } else {
            end(scanner, scan, result);
        }
    }
    if (!list_is_empty(&scanner->scans)) {
        reactor_defer_slow(scanner->reactor, &scanner->task);
    }
}

/* Sees to it that one more scan may begin. */
static bool make_place(struct user_scanner *scanner)
{
    if (scanner->scan_count >= scanner->max_scans && !list_is_empty(&scanner->resting)) {
        end(scanner, CONTAINER_OF(scanner->resting.next, struct user_scan, link),
            USER_SCAN_E_TOO_MANY);
    }
    return scanner->scan_count < scanner->max_scans;
}

static unsigned batch_of(const struct user_filter *filter)
{
    unsigned cost = user_filter_cost(filter);

    return cost < BATCH_COST ? BATCH_COST / cost : 1;
}

int user_scan_start(struct user_scanner *scanner, struct user_scan *scan)
{
    uint64_t left_ns;
    int result = E_GO_ON;

    if (!scan->is_counted && user_store_count(scanner->store) > scanner->max_users) {
        return USER_SCAN_E_TOO_FAR; /* better now than after all that work */
    }
    if (!make_place(scanner)) {
        return USER_SCAN_E_TOO_MANY;
    }
    left_ns = time_left(scanner);
    scan->at = scan->is_counted ? scan->after : 0;
    scan->change = user_store_applied(scanner->store);
    scan->batch = batch_of(scan->filter);
    list_init(&scan->link);
    if (list_is_empty(&scanner->scans) && left_ns > 0) {
        result = run_slice(scanner, scan, left_ns);
    }
    if (result == E_GO_ON) {
        enter(scanner, scan);
    }
    return result;
}

void user_scan_stop(struct user_scanner *scanner, struct user_scan *scan)
{
    leave(scanner, scan);
}

bool user_scan_is_exact(const struct user_scanner *scanner, const struct user_scan *scan)
{
    return scan->change == user_store_applied(scanner->store);
}
