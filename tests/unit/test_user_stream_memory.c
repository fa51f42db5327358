#include "lib/unit.h"

#include "allocation_faults.h"

#include <assert.h>

/* libcheck allocates whenever it asserts: the fakes assert without it here. */
#undef ck_assert
#undef ck_assert_int_eq
#undef ck_assert_uint_eq
#undef ck_assert_uint_gt
#undef ck_assert_uint_lt
#undef ck_assert_uint_ge
#undef ck_assert_ptr_nonnull
#undef ck_assert_str_eq
#define ck_assert(condition)     assert(condition)
#define ck_assert_int_eq(a, b)   assert((a) == (b))
#define ck_assert_uint_eq(a, b)  assert((a) == (b))
#define ck_assert_uint_gt(a, b)  assert((a) > (b))
#define ck_assert_uint_lt(a, b)  assert((a) < (b))
#define ck_assert_uint_ge(a, b)  assert((a) >= (b))
#define ck_assert_ptr_nonnull(a) assert((a) != NULL)
#define ck_assert_str_eq(a, b)   assert(strcmp((a), (b)) == 0)

#include "stream_fixture.h"

/*
 * Every allocation of a stream fails in turn, from its opening to its last answer. The stream ends,
 * with OK or RESOURCE_EXHAUSTED; what is stored is a part of the stream from its beginning, in its
 * order; nothing else is left. Faults do not reach the fakes: their memory is made before.
 */

static const char *const names[] = {"anna", "berta", "berta", "carl"};

#define NAME_COUNT (sizeof(names) / sizeof(names[0]))

/* The fakes' allocations do not count. */
static unsigned pause_faults(void)
{
    unsigned left = allocations_left;

    allocations_left = 0;
    return left;
}

static bool settle_one(struct stream_fixture *fixture)
{
    struct list *link = list_pop_front(&fixture->log.submitted);
    unsigned left = pause_faults();
    struct commit_mutation *mutation;
    struct commit_event event;

    if (link != NULL) {
        mutation = CONTAINER_OF(link, struct commit_mutation, link);
        fake_log_add(&fixture->log, mutation->record_type, mutation->record);
        event = (struct commit_event){.revision = fixture->log.revision,
                                      .record_type = mutation->record_type,
                                      .record = mutation->record};
        stream_apply(fixture, &event, 1);
        allocations_left = left;
        mutation->done(mutation, COMMIT_DONE, event.revision);
        return true;
    }
    allocations_left = left;
    return false;
}

static void send_item(struct fake_call *call, bool is_sync, const char *name)
{
    unsigned left = pause_faults();
    struct buf message = {0};
    char email[16];

    (void)snprintf(email, sizeof(email), "%s@x", name);
    add_text(&message, is_sync ? 1 : 4, name);
    add_text(&message, is_sync ? 2 : 1, name);
    add_text(&message, is_sync ? 3 : 2, email);
    if (!is_sync) {
        add_text(&message, 3, "correct horse");
    }
    allocations_left = left;
    if (call->call.events != NULL && !call->paused) {
        call->call.events->message(&call->call, call->call.events_context, buf_bytes(&message));
    }
    buf_deinit(&message);
}

static void run_all(struct stream_fixture *fixture, struct fake_call *call)
{
    bool any = true;

    while (any) {
        any = fake_reactor_turn(&fixture->reactor);
        any |= fake_pool_run_one(false);
        any |= fake_reactor_turn(&fixture->reactor);
        any |= settle_one(fixture);
    }
    if (call->call.events != NULL && call->paused) {
        let_time_pass(fixture, 20);
    }
}

/* Runs one stream to its end. True as long as it has an nth allocation. */
static bool survives(bool is_sync, bool goes_on, unsigned nth)
{
    static struct stream_fixture fixture;
    static struct fake_call call;
    struct grpc_metadata_field field;
    bool fired;

    stream_start(&fixture);
    fake_call_init(&call);
    ck_assert_ptr_nonnull(buf_reserve(&call.sent, 4096));
    set_goes_on(&call, &field, goes_on ? "true" : "false");
    allocation_faults_arm(nth);
    if (is_sync) {
        user_stream_open_sync(&fixture.streams, &call.call);
    } else {
        user_stream_open_batch(&fixture.streams, &call.call);
    }
    for (size_t i = 0; i < NAME_COUNT; i++) {
        send_item(&call, is_sync, names[i]);
        run_all(&fixture, &call);
    }
    if (goes_on) {
        send_item(&call, is_sync, ""); /* to be answered with an error */
        run_all(&fixture, &call);
    }
    if (call.call.events != NULL && !call.paused) {
        fake_call_half_close(&call);
    }
    run_all(&fixture, &call);
    fired = allocation_faults_disarm();
    ck_assert(call.answered);
    if (call.status == GRPC_STATUS_OK) {
        ck_assert_uint_eq(call.sent_count, NAME_COUNT + goes_on);
    } else {
        ck_assert_int_eq(call.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
        ck_assert(fired);
    }
    ck_assert_uint_ge(fixture.log.record_count, user_store_count(fixture.writer.store));
    fake_call_deinit(&call);
    stream_finish(&fixture);
    return fired;
}

static unsigned sweep(bool is_sync, bool goes_on)
{
    unsigned nth = 1;

    while (survives(is_sync, goes_on, nth)) {
        nth++;
    }
    return nth;
}

/* A batch, that ends at the first error, and one that goes on. */
START_TEST(user_stream_creates_without_memory)
{
    ck_assert_uint_gt(sweep(false, false), 10);
    ck_assert_uint_gt(sweep(false, true), 10);
}

END_TEST

/* A sync. */
START_TEST(user_stream_syncs_without_memory)
{
    ck_assert_uint_gt(sweep(true, false), 10);
}

END_TEST

UNIT_MAIN("user_stream_memory", user_stream_creates_without_memory,
          user_stream_syncs_without_memory)
