/*
 * Random creates, updates and deletes against user_store, beside a model so simple that it can be
 * believed: a few arrays, walked from end to end. Many changes are on their way at once, some fail,
 * some are given up before they were planned, and now and then the store is thrown away and made
 * anew from what the log holds.
 *
 *     sim_store [SEED [RUNS]]
 *
 * A failure prints the seed and the step; `sim_store SEED 1` repeats it.
 *
 * Thread: one.
 */
#include "service/user_order.h"
#include "service/user_store.h"

#include <stdio.h>
#include <stdlib.h>

#define RUNS_DEFAULT 500
#define STEPS        1500
#define IDS          12
#define NAMES        20 /* few, so that they collide; for usernames and e-mails alike */
#define REQUESTS     6
#define CHANGES_MAX  8
#define USERS_MAX    6 /* store.max_users: below the number of ids */
#define NONE         (-1)
#define RECORDS_MAX  (STEPS + 1)

/* A user as the model knows it: numbers of texts. */
struct model_user {
    bool exists;
    int username;
    int email;
    int request; /* NONE = without */
    uint64_t sequence;
    uint64_t change;
};

struct model_change {
    bool active;
    bool planned;
    int id;
    struct model_user after; /* exists = false: a delete */
    struct user_change change;
    struct commit_mutation mutation;
    struct buf record;
    uint64_t order; /* of planning: the log keeps it */
};

struct sim {
    uint64_t seed;
    uint64_t random;
    unsigned step;
    struct user_store *store;
    struct model_user users[IDS];
    struct model_change changes[CHANGES_MAX];
    uint64_t planned_count;
    uint64_t change_last;
    uint64_t change_applied;

    struct {
        uint8_t type;
        struct buf body;
    } log[RECORDS_MAX];

    unsigned log_count;
};

static unsigned runs_passed;

static void check(const struct sim *sim, bool holds, const char *what)
{
    if (!holds) {
        printf("seed %llu, step %u: %s\n", (unsigned long long)sim->seed, sim->step, what);
        printf("%u passed, 1 failed\n", runs_passed);
        exit(EXIT_FAILURE);
    }
}

static unsigned draw(struct sim *sim, unsigned below)
{
    sim->random = sim->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(sim->random >> 33) % below;
}

static struct bytes id_text(int id)
{
    static char texts[IDS][16];

    (void)snprintf(texts[id], sizeof(texts[id]), "id%d", id);
    return bytes_from_text(texts[id]);
}

static struct bytes request_text(int request)
{
    static char texts[REQUESTS][8];

    if (request == NONE) {
        return (struct bytes){0};
    }
    (void)snprintf(texts[request], sizeof(texts[request]), "r%d", request);
    return bytes_from_text(texts[request]);
}

/* The name in a case of letters that may differ each time. */
static struct bytes name_text(struct sim *sim, int name, char out[8])
{
    (void)snprintf(out, 8, draw(sim, 2) == 0 ? "name%c" : "NaMe%c", 'a' + name);
    return bytes_from_text(out);
}

static bool has_name(const struct model_user *user, int name)
{
    return user->exists && (user->username == name || user->email == name);
}

static bool is_name_taken(const struct sim *sim, int name, int id)
{
    for (int i = 0; i < IDS; i++) {
        if (i != id && has_name(&sim->users[i], name)) {
            return true;
        }
    }
    for (int i = 0; i < CHANGES_MAX; i++) {
        if (sim->changes[i].active && has_name(&sim->changes[i].after, name)) {
            return true;
        }
    }
    return false;
}

static unsigned count_users(const struct sim *sim, bool with_new)
{
    unsigned count = 0;

    for (int i = 0; i < IDS; i++) {
        count += sim->users[i].exists;
    }
    for (int i = 0; with_new && i < CHANGES_MAX; i++) {
        count += sim->changes[i].active && !sim->users[sim->changes[i].id].exists;
    }
    return count;
}

/* Who has the request_id: the id of a stored user, or NONE. */
static int stored_request(const struct sim *sim, int request)
{
    for (int i = 0; i < IDS; i++) {
        if (sim->users[i].exists && sim->users[i].request == request) {
            return i;
        }
    }
    return NONE;
}

static bool is_request_busy(const struct sim *sim, int request)
{
    for (int i = 0; i < CHANGES_MAX; i++) {
        if (sim->changes[i].active && sim->changes[i].after.exists &&
            !sim->users[sim->changes[i].id].exists && sim->changes[i].after.request == request) {
            return true;
        }
    }
    return false;
}

static int expected_reserve(const struct sim *sim, int id, const struct model_user *after)
{
    if (!sim->users[id].exists && count_users(sim, true) >= USERS_MAX) {
        return USER_STORE_E_TOO_MANY;
    }
    if (after->exists && is_name_taken(sim, after->username, id)) {
        return USER_STORE_E_USERNAME_TAKEN;
    }
    if (after->exists && is_name_taken(sim, after->email, id)) {
        return USER_STORE_E_EMAIL_TAKEN;
    }
    return 0;
}

/* What a caller of the store would plan next for this id; false when it would not ask the store. */
static bool draw_image(struct sim *sim, int id, struct model_user *after)
{
    const struct model_user *before = &sim->users[id];

    *after = *before;
    if (before->exists && draw(sim, 4) == 0) {
        after->exists = false;
        return true;
    }
    after->exists = true;
    if (!before->exists || draw(sim, 2) == 0) {
        after->username = (int)draw(sim, NAMES);
    }
    if (!before->exists || draw(sim, 2) == 0) {
        after->email = (int)draw(sim, NAMES);
    }
    if (!before->exists) {
        after->request = (int)draw(sim, REQUESTS + 1) - 1;
        if (after->request != NONE) {
            return stored_request(sim, after->request) == NONE &&
                   !is_request_busy(sim, after->request);
        }
    }
    return true;
}

static void start_change(struct sim *sim)
{
    int id = (int)draw(sim, IDS);
    struct model_change *free_change = NULL;
    struct model_user after;
    struct user_names names;
    char username[8];
    char email[8];
    int expected;

    for (int i = 0; i < CHANGES_MAX; i++) {
        if (!sim->changes[i].active) {
            free_change = &sim->changes[i];
        } else if (sim->changes[i].id == id) {
            check(sim, user_store_change_of_id(sim->store, id_text(id)) == &sim->changes[i].change,
                  "the change of an id is found");
            return;
        }
    }
    check(sim, user_store_change_of_id(sim->store, id_text(id)) == NULL, "no change of this id");
    if (free_change == NULL || !draw_image(sim, id, &after)) {
        return;
    }
    names = (struct user_names){.id = id_text(id)};
    if (after.exists) {
        names.username = name_text(sim, after.username, username);
        names.email = name_text(sim, after.email, email);
        names.request_id = sim->users[id].exists ? (struct bytes){0} : request_text(after.request);
    }
    expected = expected_reserve(sim, id, &after);
    *free_change = (struct model_change){.id = id, .after = after};
    check(sim, user_store_reserve(sim->store, &free_change->change, &names) == expected,
          "reserve answers like the model");
    free_change->active = expected == 0;
}

static void build_record(struct sim *sim, struct model_change *change, struct user_stamp stamp)
{
    struct model_user *after = &change->after;
    char username[8];
    char email[8];
    char etag[USER_ETAG_SIZE];
    struct user user = {.id = id_text(change->id)};
    struct user_record record = {0};
    struct buf message = {0};

    after->change = stamp.change;
    user.etag = (struct bytes){(const uint8_t *)etag, user_record_format_etag(stamp.change, etag)};
    if (after->exists) {
        if (!sim->users[change->id].exists) {
            after->sequence = stamp.change;
        }
        user.username = name_text(sim, after->username, username);
        user.email = name_text(sim, after->email, email);
        user.created_at = stamp.created_at;
        record.request_id = request_text(after->request);
        record.sequence = after->sequence;
    }
    check(sim, user_record_append_user(&user, &message) == 0, "memory");
    record.message = buf_bytes(&message);
    check(sim, user_record_append(&record, &change->record) == 0, "memory");
    buf_deinit(&message);
}

static void plan_change(struct sim *sim)
{
    struct model_change *change = &sim->changes[draw(sim, CHANGES_MAX)];
    struct user_stamp stamp;

    if (!change->active || change->planned) {
        return;
    }
    stamp = user_store_stamp(sim->store, (int64_t)draw(sim, 1000));
    check(sim, stamp.change > sim->change_last, "numbers grow, also across restarts");
    sim->change_last = stamp.change;
    build_record(sim, change, stamp);
    change->mutation.record = buf_bytes(&change->record);
    change->mutation.record_type = change->after.exists ? USER_RECORD_PUT : USER_RECORD_DELETE;
    check(sim, user_store_plan(sim->store, &change->change, &change->mutation) == 0, "plan");
    check(sim, change->mutation.key_count > 0, "a mutation has keys");
    change->planned = true;
    change->order = ++sim->planned_count;
}

static void end_change(struct sim *sim, struct model_change *change)
{
    user_store_release(sim->store, &change->change);
    buf_deinit(&change->record);
    *change = (struct model_change){0};
}

static void apply_record(struct sim *sim, unsigned index)
{
    struct commit_event event = {.revision = index + 1,
                                 .record_type = sim->log[index].type,
                                 .record = buf_bytes(&sim->log[index].body)};

    check(sim, user_store_apply(sim->store, &event) == 0, "a record is applied");
    check(sim, user_store_applied(sim->store) > sim->change_applied,
          "and the state has a new name");
    sim->change_applied = user_store_applied(sim->store);
}

/* The log tells of the oldest record: durable, or without effect. */
static void settle_change(struct sim *sim)
{
    struct model_change *oldest = NULL;
    struct bytes record;

    for (int i = 0; i < CHANGES_MAX; i++) {
        if (sim->changes[i].planned && (oldest == NULL || sim->changes[i].order < oldest->order)) {
            oldest = &sim->changes[i];
        }
    }
    if (oldest == NULL) {
        return;
    }
    if (draw(sim, 4) != 0) {
        record = oldest->mutation.record;
        sim->log[sim->log_count].type = oldest->mutation.record_type;
        check(sim, buf_append(&sim->log[sim->log_count].body, record.data, record.size) == 0,
              "memory");
        apply_record(sim, sim->log_count++);
        sim->users[oldest->id] = oldest->after;
    }
    end_change(sim, oldest);
}

static void drop_change(struct sim *sim)
{
    struct model_change *change = &sim->changes[draw(sim, CHANGES_MAX)];

    if (change->active && !change->planned) {
        end_change(sim, change);
    }
}

static void open_store(struct sim *sim)
{
    struct hash_seed seed = {{sim->seed, sim->step}};

    check(sim, user_store_new(USERS_MAX, seed, &sim->store) == 0, "memory");
    sim->change_applied = 0;
    for (unsigned i = 0; i < sim->log_count; i++) {
        apply_record(sim, i);
    }
}

static void close_store(struct sim *sim)
{
    for (int i = 0; i < CHANGES_MAX; i++) {
        end_change(sim, &sim->changes[i]);
    }
    user_store_free(sim->store);
}

/* A crash: what was on its way is lost, and so are the numbers that were given to it alone. */
static void restart(struct sim *sim)
{
    sim->change_last = 0;
    close_store(sim);
    for (unsigned i = 0; i < sim->log_count; i++) {
        struct user_record record;

        check(sim, user_record_read(sim->log[i].type, buf_bytes(&sim->log[i].body), &record) == 0,
              "the log is readable");
        sim->change_last = record.change;
    }
    open_store(sim);
}

static bool is_folded_name(struct bytes text, int name)
{
    char folded[8];

    (void)snprintf(folded, sizeof(folded), "name%c", 'a' + name);
    return bytes_equal(text, bytes_from_text(folded));
}

/* The id of the user with the smallest sequence above this one, or NONE. */
static int id_after(const struct sim *sim, uint64_t sequence)
{
    int next = NONE;

    for (int i = 0; i < IDS; i++) {
        const struct model_user *user = &sim->users[i];

        if (user->exists && user->sequence > sequence &&
            (next == NONE || user->sequence < sim->users[next].sequence)) {
            next = i;
        }
    }
    return next;
}

/* From any place on, the order has the users by their sequence. */
static void compare_order(struct sim *sim)
{
    const struct user_order *order = user_store_order(sim->store);
    uint64_t sequence = draw(sim, 2) == 0 ? 0 : draw(sim, (unsigned)sim->change_last + 2);
    struct user_order_cursor cursor = user_order_after(order, sequence);
    const struct user_entry *entry;
    int id;

    while ((id = id_after(sim, sequence)) != NONE) {
        entry = user_order_next(order, &cursor);
        check(sim, entry == user_store_find(sim->store, id_text(id)), "the order of creation");
        sequence = sim->users[id].sequence;
    }
    check(sim, user_order_next(order, &cursor) == NULL, "the end of the order");
}

static bool is_found(const struct sim *sim, const struct user_entry *entry)
{
    return user_store_find_username(sim->store, user_entry_username(entry)) == entry &&
           user_store_find_email(sim->store, user_entry_email(entry)) == entry;
}

static void compare(const struct sim *sim)
{
    check(sim, user_store_count(sim->store) == count_users(sim, false), "the number of users");
    for (int i = 0; i < IDS; i++) {
        const struct model_user *user = &sim->users[i];
        const struct user_entry *entry = user_store_find(sim->store, id_text(i));

        check(sim, (entry != NULL) == user->exists, "a user is there or not");
        if (entry != NULL) {
            check(sim, is_folded_name(user_entry_username(entry), user->username), "username");
            check(sim, is_folded_name(user_entry_email(entry), user->email), "email");
            check(sim, is_found(sim, entry), "found by its names");
            check(sim, user_entry_sequence(entry) == user->sequence, "sequence");
            check(sim, user_entry_change(entry) == user->change, "change");
            check(sim, bytes_equal(user_entry_request_id(entry), request_text(user->request)),
                  "request_id");
        }
    }
    for (int i = 0; i < REQUESTS; i++) {
        int id = stored_request(sim, i);
        const struct user_entry *entry = user_store_find_request(sim->store, request_text(i));

        check(sim, id == NONE ? entry == NULL : entry == user_store_find(sim->store, id_text(id)),
              "the user of a request");
        check(sim,
              (user_store_change_of_request(sim->store, request_text(i)) != NULL) ==
                  is_request_busy(sim, i),
              "the change of a request");
    }
}

static void run(uint64_t seed)
{
    static struct sim sim;

    sim = (struct sim){.seed = seed, .random = seed};
    for (int i = 0; i < IDS; i++) {
        sim.users[i].request = NONE;
    }
    open_store(&sim);
    for (sim.step = 1; sim.step <= STEPS; sim.step++) {
        unsigned what = draw(&sim, 1000);

        if (what < 400) {
            start_change(&sim);
        } else if (what < 650) {
            plan_change(&sim);
        } else if (what < 950) {
            settle_change(&sim);
        } else if (what < 997) {
            drop_change(&sim);
        } else {
            restart(&sim);
        }
        compare(&sim);
        compare_order(&sim);
    }
    restart(&sim);
    compare(&sim);
    compare_order(&sim);
    close_store(&sim);
    for (unsigned i = 0; i < sim.log_count; i++) {
        buf_deinit(&sim.log[i].body);
    }
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    unsigned runs = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : RUNS_DEFAULT;

    for (runs_passed = 0; runs_passed < runs; runs_passed++) {
        run(seed + runs_passed);
    }
    printf("%u passed, 0 failed\n", runs_passed);
    return EXIT_SUCCESS;
}
