#include "lib/unit.h"

#include "allocation_faults.h"
#include "service/user_write.h"
#include "write_fakes.h"

#include <stdio.h>

/*
 * Every allocation of a create, an update, a delete and a sync fails in turn, each time with a
 * store made anew. The write ends as NO_MEMORY, nothing is logged, changed or reserved, and the
 * same write succeeds afterwards. What was submitted needs no memory any more.
 */

#define NOW_MS 1700000000000ULL

/* Sizes of the store: when every map takes its first memory, some, and when the maps grow. */
static const unsigned sizes[] = {0, 1, 11, 12, 13};

struct fixture {
    struct user_writer writer;
    struct fake_log log;
    struct fake_clock clock;
    struct fake_random random;
    enum user_write_outcome outcome;
    char id[USER_ID_SIZE]; /* of the user made last */
};

static void on_events(void *context, const struct commit_event *events, size_t count)
{
    struct fixture *fixture = context;

    for (size_t i = 0; i < count; i++) {
        int result;
        bool fired;

        allocation_faults_arm(1);
        result = user_store_apply(fixture->writer.store, &events[i]);
        fired = allocation_faults_disarm(); /* before libcheck allocates */
        ck_assert_int_eq(result, 0);
        ck_assert(!fired);
    }
}

static const struct commit_log_callbacks callbacks = {.events = on_events};

static void start(struct fixture *fixture)
{
    static const struct hash_seed seed = {{3, 4}};

    *fixture = (struct fixture){0};
    fake_pool_init(100);
    fake_log_init(&fixture->log);
    fixture->log.callbacks = &callbacks;
    fixture->log.context = fixture;
    fake_clock_init(&fixture->clock, NOW_MS);
    fake_random_init(&fixture->random, 5);
    fixture->writer = (struct user_writer){
        .log = &fixture->log.log,
        .clock = &fixture->clock.source,
        .ids = {.random = &fixture->random.source},
        .cost = {8, 1},
    };
    ck_assert_int_eq(user_store_new(100, seed, &fixture->writer.store), 0);
}

static void finish(struct fixture *fixture)
{
    user_writer_deinit(&fixture->writer);
    user_store_free(fixture->writer.store); /* asserts that nothing is reserved */
    fake_log_deinit(&fixture->log);
}

static void on_done(struct user_write *write, enum user_write_outcome outcome)
{
    struct fixture *fixture = write->owner;

    fixture->outcome = outcome;
    if (outcome == USER_WRITE_DONE && write->kind == USER_WRITE_CREATE) {
        memcpy(fixture->id, write->new_id, sizeof(fixture->id));
    }
    user_write_free(write);
}

/* Makes a write as the service does. */
static enum user_write_outcome set_out(struct fixture *fixture, enum user_write_kind kind,
                                       const struct user_draft *draft,
                                       const struct user_patch *patch)
{
    struct user_write *write = user_write_new(&fixture->writer, kind, on_done, fixture);
    enum user_write_outcome outcome;

    if (write == NULL) {
        return USER_WRITE_NO_MEMORY;
    }
    write->id = bytes_from_text(fixture->id);
    write->patch = patch;
    write->user = &patch->user;
    if (draft != NULL && user_write_set_draft(write, draft) != 0) {
        user_write_free(write);
        return USER_WRITE_NO_MEMORY;
    }
    outcome = user_write_start(write);
    if (outcome != USER_WRITE_ON_ITS_WAY) {
        user_write_free(write);
    }
    return outcome;
}

/* Runs a write to its end, its nth allocation failing until the log has it; 0 = none. Tells whether
 * it had so many. */
static bool run(struct fixture *fixture, enum user_write_kind kind, const char *name, unsigned nth)
{
    struct user_draft draft = {.username = bytes_from_text(name),
                               .email = bytes_from_text(name),
                               .password = BYTES_LITERAL("correct horse"),
                               .request_id = bytes_from_text(name)};
    struct user_patch patch = {
        .user = {.username = bytes_from_text(name), .email = bytes_from_text(name)},
        .fields = USER_PATCH_USERNAME,
    };
    bool fired;

    allocation_faults_arm(nth);
    fixture->outcome = set_out(fixture, kind, kind == USER_WRITE_CREATE ? &draft : NULL, &patch);
    fake_pool_run();
    fired = allocation_faults_disarm();
    fake_log_settle_all(&fixture->log);
    return fired;
}

static void populate(struct fixture *fixture, unsigned count)
{
    char name[16];

    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "user%u", i);
        (void)run(fixture, USER_WRITE_CREATE, name, 0);
        ck_assert_int_eq(fixture->outcome, USER_WRITE_DONE);
    }
}

/* True as long as the write has an nth allocation. */
static bool survives(enum user_write_kind kind, unsigned size, unsigned nth)
{
    static struct fixture fixture;
    const struct user_entry *before;
    bool fired;

    start(&fixture);
    populate(&fixture, size);
    before = user_store_find(fixture.writer.store, bytes_from_text(fixture.id));
    fired = run(&fixture, kind, "anna", nth);
    if (fired) {
        ck_assert_int_eq(fixture.outcome, USER_WRITE_NO_MEMORY);
        ck_assert_uint_eq(fixture.writer.live_count, 0);
        ck_assert_uint_eq(fixture.log.record_count, size);
        ck_assert_uint_eq(user_store_count(fixture.writer.store), size);
        ck_assert_ptr_eq(user_store_find(fixture.writer.store, bytes_from_text(fixture.id)),
                         before);
        (void)run(&fixture, kind, "anna", 0);
    }
    ck_assert_int_eq(fixture.outcome, USER_WRITE_DONE);
    ck_assert_uint_eq(fixture.log.record_count, size + 1);
    finish(&fixture);
    return fired;
}

static void sweep(enum user_write_kind kind, unsigned size)
{
    unsigned nth = 1;

    while (survives(kind, size, nth)) {
        nth++;
    }
    ck_assert_uint_gt(nth, 4); /* the write, its keys, message and record: so many at least */
}

/* A create that finds no memory, wherever it asks, leaves no trace. */
START_TEST(user_write_creates_or_leaves_no_trace)
{
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        sweep(USER_WRITE_CREATE, sizes[i]);
    }
}

END_TEST

/* So does an update. */
START_TEST(user_write_updates_or_leaves_no_trace)
{
    for (size_t i = 1; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        sweep(USER_WRITE_UPDATE, sizes[i]);
    }
}

END_TEST

/* And a delete. */
START_TEST(user_write_deletes_or_leaves_no_trace)
{
    for (size_t i = 1; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        sweep(USER_WRITE_DELETE, sizes[i]);
    }
}

END_TEST

/* And a sync. */
START_TEST(user_write_syncs_or_leaves_no_trace)
{
    for (size_t i = 1; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        sweep(USER_WRITE_SYNC, sizes[i]);
    }
}

END_TEST

UNIT_MAIN("user_write_memory", user_write_creates_or_leaves_no_trace,
          user_write_updates_or_leaves_no_trace, user_write_deletes_or_leaves_no_trace,
          user_write_syncs_or_leaves_no_trace)
