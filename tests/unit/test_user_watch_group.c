#include "service/user_watch_internal.h"
#include "watch_fixture.h"

/* ---- slices ---- */

/* Opens so many watchers of one user, in memory that the caller frees. */
static struct fake_call *open_many(struct watch_fixture *fixture, size_t count, const char *id)
{
    struct fake_call *calls = calloc(count, sizeof(*calls));

    ck_assert_ptr_nonnull(calls);
    for (size_t i = 0; i < count; i++) {
        watch_open(fixture, &calls[i], id);
    }
    return calls;
}

static void close_many(struct fake_call *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        watch_close(&calls[i]);
    }
    free(calls);
}

/* Slow work of somebody else. */
struct other_work {
    struct reactor_task task;
    unsigned runs;
};

static void run_other_work(struct reactor_task *task)
{
    CONTAINER_OF(task, struct other_work, task)->runs++;
}

#define CROWD 100000

/* A change of a user whom 100,000 watch is told in slices: other work goes on in every turn, the
 * watchers of other users are told within two turns, and in the end everybody was told once. */
START_TEST(watch_tells_a_crowd_in_slices)
{
    struct watch_fixture fixture;
    struct other_work other = {.task.run = run_other_work};
    static struct fake_call single;
    struct fake_call *crowd;
    unsigned turns = 0;
    uint64_t before;

    watch_start(&fixture, &watch_defaults);
    list_init(&other.task.link);
    watch_put(&fixture, "star");
    watch_put(&fixture, "b");
    crowd = open_many(&fixture, CROWD, "star");
    watch_open(&fixture, &single, "b");
    watch_settle(&fixture);
    watch_put(&fixture, "star");
    while (fixture.stats->sent < 2 * CROWD + single.sent_count) {
        before = fixture.stats->sent;
        reactor_defer_slow(&fixture.reactor, &other.task);
        watch_turn(&fixture);
        turns++;
        ck_assert_uint_eq(other.runs, turns);
        ck_assert_uint_gt(fixture.stats->sent, before);
        ck_assert_uint_le(fixture.stats->sent - before, 128);
        if (turns == 100) {
            watch_put(&fixture, "b");
        } else if (turns == 102) {
            ck_assert_uint_eq(single.sent_count, 2);
        }
    }
    ck_assert_uint_ge(turns, CROWD / 128);
    for (size_t i = 0; i < CROWD; i++) {
        ck_assert_uint_eq(crowd[i].sent_count, 2);
        ck_assert_uint_eq(watch_seen_change(&crowd[i], 1), 3);
    }
    ck_assert_uint_eq(fixture.stats->skipped, 0);
    watch_close(&single);
    close_many(crowd, CROWD);
    watch_finish(&fixture);
}

END_TEST

/* A slice ends after 200 us by the clock, but brings at least one watcher on. */
START_TEST(watch_ends_a_slice_by_the_clock)
{
    struct watch_fixture fixture;
    struct fake_call *calls;
    uint64_t before;

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a");
    calls = open_many(&fixture, 30, "a");
    watch_put(&fixture, "a");
    before = fixture.stats->sent;
    fixture.step_ns = 50 * CLOCK_NS_PER_US;
    watch_turn(&fixture);
    ck_assert_uint_eq(fixture.stats->sent - before, 4);
    fixture.step_ns = CLOCK_NS_PER_S;
    watch_turn(&fixture);
    ck_assert_uint_eq(fixture.stats->sent - before, 5);
    fixture.step_ns = 0;
    watch_turn(&fixture);
    ck_assert_uint_eq(fixture.stats->sent - before, 30);
    close_many(calls, 30);
    watch_finish(&fixture);
}

END_TEST

/* Groups take turns: with every slice spent on one watcher, each of them is brought on, also those
 * that change again and again meanwhile. */
START_TEST(watch_lets_groups_take_turns)
{
    static const char *const ids[] = {"a", "b", "c"};
    struct watch_fixture fixture;
    struct fake_call *calls[3];
    unsigned told[3] = {0};

    watch_start(&fixture, &watch_defaults);
    for (unsigned u = 0; u < 3; u++) {
        watch_put(&fixture, ids[u]);
        calls[u] = open_many(&fixture, 20, ids[u]);
    }
    fixture.step_ns = CLOCK_NS_PER_S;
    watch_put(&fixture, "a");
    watch_put(&fixture, "b");
    for (unsigned i = 0; i < 30; i++) {
        watch_put(&fixture, "c");
        watch_turn(&fixture);
    }
    for (unsigned u = 0; u < 3; u++) {
        for (unsigned i = 0; i < 20; i++) {
            told[u] += calls[u][i].sent_count - 1;
        }
        ck_assert_uint_eq(told[u], 10);
    }
    fixture.step_ns = 0;
    watch_settle(&fixture);
    for (unsigned u = 0; u < 3; u++) {
        close_many(calls[u], 20);
    }
    watch_finish(&fixture);
}

END_TEST

/* The end of the server comes in slices too. */
START_TEST(watch_ends_a_crowd_in_slices)
{
    struct watch_fixture fixture;
    struct fake_call *calls;
    unsigned turns = 0;

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a");
    watch_put(&fixture, "b");
    calls = open_many(&fixture, 2000, "a");
    for (unsigned i = 0; i < 1000; i++) {
        watch_close(&calls[i]);
        watch_open(&fixture, &calls[i], "b");
    }
    user_watch_end(fixture.watch);
    while (fixture.stats->watchers > 0) {
        uint64_t before = fixture.stats->watchers;

        watch_turn(&fixture);
        turns++;
        ck_assert_uint_le(before - fixture.stats->watchers, 128);
    }
    ck_assert_uint_ge(turns, 2000 / 128);
    for (unsigned i = 0; i < 2000; i++) {
        watch_check_failed(&calls[i], GRPC_STATUS_UNAVAILABLE, "SERVER_SHUTDOWN");
        fake_call_deinit(&calls[i]);
    }
    free(calls);
    watch_finish(&fixture);
}

END_TEST

/* What a watcher costs beside its call is known (docs tell it). */
START_TEST(watch_watchers_are_small)
{
    ck_assert_uint_le(sizeof(struct user_watcher), 40);
    ck_assert_uint_le(sizeof(struct watch_group), 160);
}

END_TEST

/* ---- random histories against a model ---- */

#define MODEL_USERS    4
#define MODEL_WATCHERS 40
#define MODEL_CHANGES  500

static const char *const model_ids[MODEL_USERS] = {"a", "b", "c", "d"};

/* Every change, by number: of which life of which user, and what. */
struct model_change {
    unsigned user;
    unsigned life;
    bool is_delete;
};

struct model_watcher {
    struct fake_call call;
    bool open;
    bool slow; /* now */
    bool ever_slow;
    unsigned user;
    unsigned life;
    uint64_t joined; /* number of the newest change then */
};

struct model {
    struct watch_fixture fixture;
    struct model_change changes[MODEL_CHANGES + 1];
    struct model_watcher watchers[MODEL_WATCHERS];
    bool exists[MODEL_USERS];
    unsigned life[MODEL_USERS];
    uint64_t random;
    uint64_t skipped; /* by watchers that were closed */
    bool every_turn;  /* a turn follows each change */
};

static unsigned model_random(struct model *model, unsigned limit)
{
    model->random = model->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(model->random >> 33) % limit;
}

static bool concerns(const struct model *model, const struct model_watcher *watcher,
                     uint64_t number)
{
    const struct model_change *change = &model->changes[number];

    return change->user == watcher->user && change->life == watcher->life;
}

/* Holds what a watcher saw against all changes, and counts the states that it did not see because
 * newer ones came. */
static void model_check(struct model *model, const struct model_watcher *watcher)
{
    const struct fake_call *call = &watcher->call;
    unsigned seen = 0;
    unsigned passed_over = 0; /* since the last one seen */

    for (uint64_t number = watcher->joined; number <= model->fixture.change; number++) {
        if (!concerns(model, watcher, number)) {
            continue;
        }
        if (seen == call->sent_count || watch_seen_change(call, seen) != number) {
            passed_over++;
            continue;
        }
        ck_assert_int_eq(watch_seen(call, seen).status == USER_STATUS_DELETED,
                         model->changes[number].is_delete);
        ck_assert(passed_over == 0 || watcher->ever_slow || !model->every_turn);
        model->skipped += passed_over;
        passed_over = 0;
        seen++;
        if (model->changes[number].is_delete) {
            ck_assert(call->answered);
            ck_assert_int_eq(call->status, GRPC_STATUS_OK);
        }
    }
    ck_assert_uint_eq(seen, call->sent_count); /* in order, none twice, none of others */
    ck_assert_uint_ge(seen, 1);
    ck_assert_uint_eq(watch_seen_change(call, 0), watcher->joined);
    model->skipped += passed_over > 0 ? passed_over - 1 : 0; /* the newest was still to come */
}

/* Holds that the last message of a watcher is the newest state of its user. */
static void model_check_newest(const struct model *model, const struct model_watcher *watcher)
{
    const struct fake_call *call = &watcher->call;
    uint64_t last = watch_seen_change(call, call->sent_count - 1);

    for (uint64_t number = last + 1; number <= model->fixture.change; number++) {
        ck_assert(!concerns(model, watcher, number));
    }
    ck_assert(call->answered == model->changes[last].is_delete);
}

static void model_close(struct model *model, struct model_watcher *watcher)
{
    model_check(model, watcher);
    fake_call_cancel(&watcher->call);
    fake_call_deinit(&watcher->call);
    watcher->open = false;
}

static void model_open(struct model *model, struct model_watcher *watcher)
{
    unsigned user = model_random(model, MODEL_USERS);

    if (!model->exists[user]) {
        return;
    }
    *watcher = (struct model_watcher){.open = true, .user = user, .life = model->life[user]};
    for (uint64_t number = model->fixture.change; watcher->joined == 0; number--) {
        watcher->joined = concerns(model, watcher, number) ? number : 0;
    }
    watch_open(&model->fixture, &watcher->call, model_ids[user]);
}

static void model_change(struct model *model)
{
    unsigned user = model_random(model, MODEL_USERS);
    bool is_delete = model->exists[user] && model_random(model, 20) == 0;

    model->life[user] += !model->exists[user];
    model->exists[user] = !is_delete;
    model->changes[model->fixture.change + 1] =
        (struct model_change){user, model->life[user], is_delete};
    if (is_delete) {
        watch_delete(&model->fixture, model_ids[user]);
    } else {
        watch_put(&model->fixture, model_ids[user]);
    }
    if (model->every_turn) {
        watch_turn(&model->fixture);
    }
}

static void model_set_slow(struct model_watcher *watcher, bool slow)
{
    watcher->slow = slow;
    watcher->ever_slow = watcher->ever_slow || slow;
    if (slow) {
        watcher->call.unsent_size = watch_defaults.max_unsent;
    } else {
        fake_call_writable(&watcher->call);
    }
}

static void model_step(struct model *model)
{
    struct model_watcher *watcher = &model->watchers[model_random(model, MODEL_WATCHERS)];
    unsigned what = model_random(model, 10);

    if (what < 4) {
        model_change(model);
    } else if (what < 6) {
        watch_turn(&model->fixture);
    } else if (!watcher->open) {
        model_open(model, watcher);
    } else if (what < 9) {
        model_set_slow(watcher, !watcher->slow);
    } else if (model_random(model, 4) == 0) {
        model_close(model, watcher);
    }
}

/* Whatever happens in whatever order: what a client sees is a part of the changes in their order,
 * from the present state on, none twice, ending with the newest (a delete, and OK, if that is it);
 * who always reads, with time for the fan-out, sees all; and `skipped` counts exactly the rest. */
START_TEST(watch_agrees_with_the_model)
{
    static struct model model;

    for (unsigned seed = 0; seed < 40; seed++) {
        model = (struct model){.random = seed, .every_turn = seed % 2 == 0};
        watch_start(&model.fixture, &watch_defaults);
        while (model.fixture.change < MODEL_CHANGES) {
            model.fixture.step_ns = model_random(&model, 60) * CLOCK_NS_PER_US;
            model.fixture.step_ns = model.every_turn ? 0 : model.fixture.step_ns;
            model_step(&model);
        }
        model.fixture.step_ns = 0;
        for (unsigned i = 0; i < MODEL_WATCHERS; i++) {
            if (model.watchers[i].open) {
                model_set_slow(&model.watchers[i], false);
            }
        }
        watch_settle(&model.fixture);
        for (unsigned i = 0; i < MODEL_WATCHERS; i++) {
            if (model.watchers[i].open) {
                model_check_newest(&model, &model.watchers[i]);
                model_close(&model, &model.watchers[i]);
            }
        }
        ck_assert_uint_eq(model.skipped, model.fixture.stats->skipped);
        watch_finish(&model.fixture);
    }
}

END_TEST

UNIT_MAIN("user_watch_group", watch_tells_a_crowd_in_slices, watch_ends_a_slice_by_the_clock,
          watch_lets_groups_take_turns, watch_ends_a_crowd_in_slices, watch_watchers_are_small,
          watch_agrees_with_the_model)
