/*
 * How a ListUsers is answered:
 *
 *   1. The request is read and judged. A page_token tells behind which user the page begins, and
 * how many match the filter, if that was counted and nothing has changed since.
 *   2. Without a filter the page is taken from the order of creation, and the total is the number
 * of users: a walk, as long as the page.
 *   3. A filter that asks for a certain id, username or e-mail can match one user at most. The
 * index gives that one, and the filter judges it.
 *   4. Any other filter is a scan (user_scan.h). It holds the call until it ends, and is stopped
 * when the call ends earlier. Its total is exact, when nothing changed meanwhile; otherwise every
 * user was counted as it was when it was looked at, and the token says nothing of it.
 *   5. The reply is the page, a token if there is more, and the total. The trailer users-list-plan
 *      says which of the three it was.
 *
 * A walk of many pages neither misses nor repeats a user that is there all the time: pages begin
 * behind the place of a user in the order of creation, which never changes, not at a number of
 * users.
 */
#include "service/user_list.h"

#include "core/secret.h"
#include "http2/grpc_call.h"
#include "http2/proto_wire.h"
#include "service/user_errors.h"
#include "service/user_filter.h"
#include "service/user_list_request.h"
#include "service/user_order.h"
#include "service/user_request.h"
#include "service/user_scan.h"
#include "service/user_store.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE_SIZE_DEFAULT 50
#define PLAN_TRAILER      "users-list-plan"

/* A scan of a million users takes some tenths of a second. */
#define RETRY_SCAN_MS 500

enum {
    FIELD_NEXT_PAGE_TOKEN = 2,
    FIELD_TOTAL_COUNT = 3,
};

struct user_lister {
    struct user_store *store;
    struct random_source *random;
    struct user_lister_options options;    /* but for the key, which is here: */
    struct page_token_key *page_token_key; /* in secret memory */
    struct user_lister_stats stats;
    struct user_scanner scanner;
};

/* One call, in its arena. */
struct listing {
    struct user_lister *lister;
    struct grpc_call *call;
    struct bytes filter; /* the text; the one that was parsed is the scan's */
    struct page_place place;
    struct user_scan scan; /* holds the page, whatever the plan */
};

int user_lister_new(struct reactor *reactor, struct user_store *store, struct random_source *random,
                    const struct user_lister_options *options, struct user_lister **ret_lister)
{
    struct user_lister *lister = calloc(1, sizeof(*lister));

    if (lister == NULL) {
        return -ENOMEM;
    }
    lister->store = store;
    lister->random = random;
    lister->options = *options;
    page_token_key_wipe(&lister->options.page_token_key);
    lister->page_token_key = secret_alloc(sizeof(*lister->page_token_key));
    if (lister->page_token_key == NULL) {
        free(lister);
        return -ENOMEM;
    }
    *lister->page_token_key = options->page_token_key;
    lister->scanner = (struct user_scanner){
        .reactor = reactor,
        .store = store,
        .stats = &lister->stats,
        .max_scans = options->max_scans,
        .max_users = options->max_scan_users,
    };
    user_scanner_init(&lister->scanner);
    *ret_lister = lister;
    return 0;
}

void user_lister_free(struct user_lister *lister)
{
    if (lister == NULL) {
        return;
    }
    user_scanner_deinit(&lister->scanner);
    secret_free(lister->page_token_key);
    free(lister);
}

const struct user_lister_stats *user_lister_stats(const struct user_lister *lister)
{
    return &lister->stats;
}

/* ---- refusals ---- */

static void fail(struct grpc_call *call, enum user_error_kind kind)
{
    struct user_error error;

    user_error_set(&error, kind);
    user_error_count(&error, &call->host->reactor->limits_hit);
    grpc_call_fail(call, &error.grpc);
}

static void fail_crowded(struct grpc_call *call)
{
    const struct grpc_error error = {
        .status = GRPC_STATUS_RESOURCE_EXHAUSTED,
        .message = "Too many filters look through all users (limits.max_scans)",
        .reason = "TOO_MANY_SCANS",
        .domain = "users.v1",
        .retry_delay_ms = RETRY_SCAN_MS,
    };

    grpc_call_fail(call, &error);
}

static void fail_too_far(struct grpc_call *call, uint64_t users_max)
{
    char number[24];
    char message[200];
    struct grpc_error error = {
        .status = GRPC_STATUS_RESOURCE_EXHAUSTED,
        .message = message,
        .reason = "SCAN_TOO_LARGE",
        .domain = "users.v1",
    };

    (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)users_max);
    (void)snprintf(message, sizeof(message),
                   "The filter would look at more than %s users (limits.max_scan_users): ask for "
                   "equality on id, username or email",
                   number);
    grpc_error_add_metadata(&error, "max_scan_users", number);
    grpc_call_fail(call, &error);
}

/* ---- the reply ---- */

/* Appends the token of the next page. Returns 0 or -ENOMEM. */
static int append_token(struct listing *listing, uint64_t total)
{
    struct user_lister *lister = listing->lister;
    struct user_scan *scan = &listing->scan;
    struct page_place next = {.after = scan->page.last};
    char token[PAGE_TOKEN_SIZE_MAX];
    size_t size;

    if (scan->filter != NULL && user_scan_is_exact(&lister->scanner, scan)) {
        next.change = scan->change;
        next.total = total;
    }
    size = page_token_seal(lister->page_token_key, lister->random, listing->filter, &next, token);
    return proto_wire_append_bytes(&scan->page.users, FIELD_NEXT_PAGE_TOKEN,
                                   (struct bytes){(const uint8_t *)token, size});
}

static void reply(struct listing *listing, uint64_t total)
{
    struct user_page *page = &listing->scan.page;
    uint64_t shown = total < INT32_MAX ? total : INT32_MAX; /* the field holds no more */
    struct bytes part;

    if ((page->has_more && append_token(listing, total) != 0) ||
        (shown > 0 && proto_wire_append_varint(&page->users, FIELD_TOTAL_COUNT, shown) != 0)) {
        fail(listing->call, USER_ERROR_NO_MEMORY);
        return;
    }
    part = buf_bytes(&page->users);
    grpc_call_reply(listing->call, &part, 1);
}

/* The last step of every plan. `result` is 0 or as a scan ends or is refused. */
static void finish(struct listing *listing, int result)
{
    struct user_lister *lister = listing->lister;
    struct user_scan *scan = &listing->scan;
    struct limits_hit *hits = &lister->scanner.reactor->limits_hit;

    if (result == 0 && scan->filter == NULL) {
        reply(listing, user_store_count(lister->store));
    } else if (result == 0) {
        reply(listing, scan->is_counted ? listing->place.total : scan->matched);
    } else if (result == USER_SCAN_E_TOO_MANY) {
        lister->stats.scans_refused++;
        limits_hit_add(hits, LIMITS_HIT_SCANS);
        fail_crowded(listing->call);
    } else if (result == USER_SCAN_E_TOO_FAR) {
        lister->stats.scans_cut++;
        limits_hit_add(hits, LIMITS_HIT_SCAN_USERS);
        fail_too_far(listing->call, lister->options.max_scan_users);
    } else {
        fail(listing->call, USER_ERROR_NO_MEMORY);
    }
    user_page_deinit(&scan->page);
}

/* ---- the plans ---- */

/* Says in the trailers how the answer was found: only for people, so without memory it is left out.
 */
static void name_plan(struct listing *listing, const char *plan)
{
    (void)grpc_call_add_trailer(listing->call, PLAN_TRAILER, bytes_from_text(plan));
}

static void walk(struct listing *listing)
{
    const struct user_order *order = user_store_order(listing->lister->store);
    struct user_order_cursor cursor = user_order_after(order, listing->place.after);
    struct user_page *page = &listing->scan.page;
    const struct user_entry *entry;
    int result = 0;

    listing->lister->stats.by_walk++;
    name_plan(listing, "walk");
    while (result == 0 && !page->has_more && (entry = user_order_next(order, &cursor)) != NULL) {
        result = user_page_offer(page, entry);
    }
    finish(listing, result);
}

static const struct user_entry *find_unique(const struct user_store *store,
                                            enum user_filter_key key, struct bytes value)
{
    switch (key) {
    case USER_FILTER_KEY_ID:
        return user_store_find(store, value);
    case USER_FILTER_KEY_USERNAME:
        return user_store_find_username(store, value);
    case USER_FILTER_KEY_EMAIL:
        return user_store_find_email(store, value);
    case USER_FILTER_KEY_NONE:
        break;
    }
    assert(false);
    return NULL;
}

static void look_up(struct listing *listing, enum user_filter_key key, struct bytes value)
{
    struct user_lister *lister = listing->lister;
    struct user_scan *scan = &listing->scan;
    const struct user_entry *entry = find_unique(lister->store, key, value);
    int result = 0;

    lister->stats.by_index++;
    name_plan(listing, "index");
    scan->is_counted = false;
    if (entry != NULL) {
        lister->stats.users_examined++;
        result = user_scan_look_at(scan, entry);
    }
    finish(listing, result);
}

static struct listing *listing_of(struct user_scan *scan)
{
    return CONTAINER_OF(scan, struct listing, scan);
}

static void on_scanned(struct user_scan *scan, int result)
{
    struct listing *listing = listing_of(scan);
    struct grpc_call *call = listing->call;

    grpc_call_listen(call, NULL, NULL);
    finish(listing, result);
    grpc_call_release(call); /* the listing lies in it */
}

static void on_cancelled(struct grpc_call *call, void *context)
{
    struct listing *listing = context;

    user_scan_stop(&listing->lister->scanner, &listing->scan);
    user_page_deinit(&listing->scan.page);
    grpc_call_release(call); /* the listing lies in it */
}

/* False while the client leaves too much untaken of what its connection holds for it. */
static bool has_room(struct user_scan *scan)
{
    struct grpc_call_host *host = listing_of(scan)->call->host;

    return host->ops->may_deliver == NULL || host->ops->may_deliver(host);
}

static const struct grpc_call_events scan_events = {.cancelled = on_cancelled};

static void scan_all(struct listing *listing)
{
    struct user_lister *lister = listing->lister;
    int result;

    lister->stats.by_scan++;
    name_plan(listing, "scan");
    listing->scan.has_room = has_room;
    listing->scan.done = on_scanned;
    result = user_scan_start(&lister->scanner, &listing->scan);
    if (result == USER_SCAN_E_RUNNING) {
        grpc_call_hold(listing->call);
        grpc_call_listen(listing->call, &scan_events, listing);
    } else {
        finish(listing, result);
    }
}

/* ---- the request ---- */

/* Without a filter that could be read, nothing but the form of a token can be judged. */
static void read_place(struct listing *listing, const struct user_list_request *request,
                       bool has_filter, struct user_list_faults *faults)
{
    const struct user_lister *lister = listing->lister;
    struct page_place *place = &listing->place;
    struct bytes token = request->page_token;
    bool is_good;

    if (token.size == 0) {
        return;
    }
    is_good = has_filter
                  ? page_token_open(lister->page_token_key, token, request->filter, place) == 0
                  : user_list_request_has_token_form(token);
    if (!is_good) {
        user_list_faults_add_token(faults);
        return;
    }
    listing->scan.after = place->after;
    listing->scan.is_counted =
        place->change != 0 && place->change == user_store_applied(lister->store);
}

/* Returns 0, USER_FILTER_E_INVALID with the fault added, or -ENOMEM. */
static int read_filter(struct listing *listing, const struct user_list_request *request,
                       struct user_list_faults *faults)
{
    struct bytes text = request->filter;
    struct arena *arena = &listing->call->arena;
    struct user_filter_problem problem;
    int result;

    if (text.size > 0) {
        listing->filter.data = (const uint8_t *)arena_copy_text(arena, text);
        listing->filter.size = text.size;
        if (listing->filter.data == NULL) {
            return -ENOMEM;
        }
    }
    if (!user_list_request_has_filter(request)) {
        return 0;
    }
    result = user_filter_parse(listing->filter, arena, &listing->scan.filter, &problem);
    if (result == USER_FILTER_E_INVALID) {
        user_list_faults_add_filter(faults, &problem);
    }
    return result;
}

static uint32_t page_size_of(const struct user_lister *lister,
                             const struct user_list_request *request)
{
    uint32_t size = request->page_size == 0 ? PAGE_SIZE_DEFAULT : (uint32_t)request->page_size;

    return size < lister->options.max_page_size ? size : lister->options.max_page_size;
}

/* Judges the whole request, so that all its faults are told at once. False with the call failed. */
static bool read_request(struct listing *listing, const struct user_list_request *request)
{
    const uint32_t max_filter = listing->lister->options.max_filter;
    struct user_list_faults faults = {0};
    bool may_parse = user_list_request_judge(request, max_filter, &faults);
    int result = may_parse ? read_filter(listing, request, &faults) : USER_FILTER_E_INVALID;

    if (request->filter.size > max_filter) {
        limits_hit_add(&listing->lister->scanner.reactor->limits_hit, LIMITS_HIT_FILTER);
    }
    if (result != 0 && result != USER_FILTER_E_INVALID) {
        fail(listing->call, USER_ERROR_NO_MEMORY);
        return false;
    }
    read_place(listing, request, result == 0, &faults);
    if (faults.error.field_count > 0) {
        grpc_call_fail(listing->call, &faults.error);
        return false;
    }
    return true;
}

/* NULL with the call failed. */
static struct listing *new_listing(struct user_lister *lister, struct grpc_call *call,
                                   const struct user_list_request *request)
{
    struct listing *listing = arena_alloc(&call->arena, sizeof(*listing));

    if (listing == NULL) {
        fail(call, USER_ERROR_NO_MEMORY);
        return NULL;
    }
    *listing = (struct listing){
        .lister = lister,
        .call = call,
        .scan.page = {.count_max = page_size_of(lister, request),
                      .bytes_max = lister->options.max_page_bytes},
    };
    return read_request(listing, request) ? listing : NULL;
}

void user_lister_handle(void *context, struct grpc_call *call, struct bytes message)
{
    struct user_lister *lister = context;
    struct user_list_request request;
    struct listing *listing;
    enum user_filter_key key;
    struct bytes value;
    int result = user_list_request_read(message, lister->options.max_fields, &request);

    if (result != 0) {
        fail(call,
             result == USER_REQUEST_E_TOO_MANY ? USER_ERROR_TOO_MANY_FIELDS : USER_ERROR_MALFORMED);
        return;
    }
    listing = new_listing(lister, call, &request);
    if (listing == NULL) {
        return;
    }
    if (listing->scan.filter == NULL) {
        walk(listing);
        return;
    }
    key = user_filter_unique_key(listing->scan.filter, &value);
    if (key != USER_FILTER_KEY_NONE) {
        look_up(listing, key, value);
    } else {
        scan_all(listing);
    }
}
