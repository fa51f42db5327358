#include "lib/unit.h"

#include "allocation_faults.h"
#include "service/user_order.h"
#include "service/user_snapshot.h"
#include "service/user_store.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#define IDS   40
#define NAMES 60     /* of each kind; a few more than users */
#define MAX   100000 /* users, for the store */

static const struct hash_seed SEED = {{3, 4}};

/* A store that changes as the log says, and the log. */
struct fixture {
    struct user_store *store;
    struct user_snapshot *snapshot;
    struct buf log[4096]; /* records; revision 1 is at index 0 */
    uint8_t types[4096];
    uint64_t revision;
    uint64_t random;
    uint64_t sequences[IDS]; /* of the users there are; 0 = none */
    unsigned usernames[IDS]; /* which name each has */
    unsigned emails[IDS];
};

static struct fixture fixture;

static void start(uint64_t seed, uint64_t max_kept)
{
    memset(&fixture, 0, sizeof(fixture));
    fixture.random = seed;
    ck_assert_int_eq(user_store_new(MAX, SEED, &fixture.store), 0);
    ck_assert_int_eq(user_snapshot_new(fixture.store, max_kept, &fixture.snapshot), 0);
}

static void finish(void)
{
    user_snapshot_free(fixture.snapshot);
    user_store_free(fixture.store);
    for (uint64_t i = 0; i < fixture.revision; i++) {
        buf_deinit(&fixture.log[i]);
    }
}

static unsigned below(unsigned limit)
{
    fixture.random = fixture.random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(fixture.random >> 33) % limit;
}

/* Logs and applies; the allocation of this number fails, 0 = none. Returns what apply does. */
static int change_with_fault(uint8_t type, struct buf body, unsigned nth)
{
    struct commit_event event = {
        .revision = fixture.revision + 1, .record_type = type, .record = buf_bytes(&body)};
    int result;

    ck_assert_uint_lt(fixture.revision, 4096);
    fixture.log[fixture.revision] = body;
    fixture.types[fixture.revision] = type;
    fixture.revision++;
    allocation_faults_arm(nth);
    result = user_store_apply(fixture.store, &event);
    ck_assert_int_eq(allocation_faults_disarm(), nth > 0);
    return result;
}

static void change(uint8_t type, struct buf body)
{
    ck_assert_int_eq(change_with_fault(type, body, 0), 0);
}

/* The user as it is in the tables; the change of this number wrote it. */
static struct buf record_of(unsigned id, bool is_delete)
{
    const uint64_t number = fixture.revision + 1;
    char texts[5][48];
    struct user user = {.created_at = (int64_t)fixture.sequences[id] * 10};
    struct user_record record = {.sequence = fixture.sequences[id]};
    struct buf message = {0};
    struct buf body = {0};

    (void)snprintf(texts[0], sizeof(texts[0]), "id-%u", id);
    (void)snprintf(texts[1], sizeof(texts[1]), "Name-%u", fixture.usernames[id]);
    (void)snprintf(texts[2], sizeof(texts[2]), "mail-%u@X", fixture.emails[id]);
    (void)snprintf(texts[3], sizeof(texts[3]), "r-%llu", (unsigned long long)fixture.sequences[id]);
    user.id = bytes_from_text(texts[0]);
    user.etag = (struct bytes){(uint8_t *)texts[4], user_record_format_etag(number, texts[4])};
    if (!is_delete) {
        user.username = bytes_from_text(texts[1]);
        user.email = bytes_from_text(texts[2]);
        record.request_id = id % 3 == 0 ? bytes_from_text(texts[3]) : (struct bytes){0};
        record.password_hash = bytes_from_text(id % 2 == 0 ? "$argon2id$hash" : "");
    }
    ck_assert_int_eq(user_record_append_user(&user, &message), 0);
    record.message = buf_bytes(&message);
    ck_assert_int_eq(user_record_append(&record, &body), 0);
    buf_deinit(&message);
    return body;
}

static void put(unsigned id)
{
    if (fixture.sequences[id] == 0) {
        fixture.sequences[id] = fixture.revision + 1;
    }
    change(USER_RECORD_PUT, record_of(id, false));
}

static void drop(unsigned id)
{
    change(USER_RECORD_DELETE, record_of(id, true));
    fixture.sequences[id] = 0;
}

/* A name of this table that no user has. */
static unsigned free_name(const unsigned *table)
{
    unsigned name = below(NAMES);

    for (unsigned id = 0; id < IDS; id++) {
        if (fixture.sequences[id] != 0 && table[id] == name) {
            name = (name + 1) % NAMES;
            id = UINT_MAX; /* from the start */
        }
    }
    return name;
}

/* Two users change names, by way of a free one. */
static void swap(unsigned a, unsigned b)
{
    unsigned name_a = fixture.usernames[a];
    unsigned name_b = fixture.usernames[b];

    fixture.usernames[a] = free_name(fixture.usernames);
    put(a);
    fixture.usernames[b] = name_a;
    put(b);
    fixture.usernames[a] = name_b;
    put(a);
}

static void change_anything(void)
{
    unsigned id = below(IDS);
    unsigned other = below(IDS);

    if (fixture.sequences[id] == 0) {
        fixture.usernames[id] = free_name(fixture.usernames);
        fixture.emails[id] = free_name(fixture.emails);
        put(id);
    } else if (below(3) == 0) {
        drop(id);
    } else if (below(3) == 0 && id != other && fixture.sequences[other] != 0) {
        swap(id, other);
    } else if (below(2) == 0) {
        fixture.emails[id] = free_name(fixture.emails);
        put(id);
    } else {
        put(id);
    }
}

static void add(struct buf *out, struct bytes bytes)
{
    ck_assert_int_eq(buf_append(out, &bytes.size, sizeof(bytes.size)), 0);
    ck_assert_int_eq(buf_append(out, bytes.data, bytes.size), 0);
}

/* All there is to know of a store. */
static struct buf dump(const struct user_store *store)
{
    struct user_counters counters = user_store_counters(store);
    struct user_order_cursor cursor = {0, 0};
    const struct user_entry *entry;
    struct buf out = {0};

    ck_assert_uint_eq(counters.change, user_store_applied(store));
    add(&out, (struct bytes){(const uint8_t *)&counters.change, sizeof(counters.change)});
    add(&out, (struct bytes){(const uint8_t *)&counters.created_at, sizeof(counters.created_at)});
    while ((entry = user_order_next(user_store_order(store), &cursor)) != NULL) {
        uint64_t numbers[] = {user_entry_sequence(entry), user_entry_change(entry),
                              user_entry_revision(entry)};
        struct bytes request_id = user_entry_request_id(entry);

        add(&out, (struct bytes){(const uint8_t *)numbers, sizeof(numbers)});
        add(&out, user_entry_message(entry));
        add(&out, user_entry_password_hash(entry));
        add(&out, request_id);
        ck_assert_ptr_eq(user_store_find(store, user_entry_id(entry)), entry);
        ck_assert_ptr_eq(user_store_find_username(store, user_entry_username(entry)), entry);
        ck_assert_ptr_eq(user_store_find_email(store, user_entry_email(entry)), entry);
        ck_assert(request_id.size == 0 || user_store_find_request(store, request_id) == entry);
    }
    return out;
}

static void check_same(const struct user_store *store, struct buf *expected)
{
    struct buf found = dump(store);

    ck_assert(bytes_equal(buf_bytes(&found), buf_bytes(expected)));
    buf_deinit(&found);
    buf_deinit(expected);
}

static uint64_t begin(void)
{
    uint64_t count;

    ck_assert_int_eq(user_snapshot_source()->begin(fixture.snapshot, fixture.revision, &count), 0);
    ck_assert_uint_eq(count, user_store_count(fixture.store) + 1);
    ck_assert(user_snapshot_stats(fixture.snapshot)->is_running);
    return count;
}

static void end(void)
{
    user_snapshot_source()->end(fixture.snapshot);
    ck_assert(!user_snapshot_stats(fixture.snapshot)->is_running);
    ck_assert_uint_eq(user_snapshot_stats(fixture.snapshot)->kept_bytes, 0);
    ck_assert_uint_eq(user_snapshot_stats(fixture.snapshot)->kept_entries, 0);
}

/* Takes the next record and puts it into the store, which may be NULL. Returns what `next` does. */
static int take(struct user_store *store, unsigned *puts, unsigned *counters)
{
    struct wal_record record;
    int result = user_snapshot_source()->next(fixture.snapshot, &record);
    struct commit_event event;

    if (result != 0) {
        return result;
    }
    ck_assert(record.is_in_snapshot);
    *puts += record.type == USER_RECORD_PUT;
    *counters += record.type == USER_RECORD_COUNTERS;
    ck_assert(record.type == USER_RECORD_PUT || record.lsn == 0);
    event = (struct commit_event){.revision = record.lsn,
                                  .record_type = record.type,
                                  .is_in_snapshot = true,
                                  .record = record.body};
    if (store != NULL) {
        ck_assert_int_eq(user_store_apply(store, &event), 0);
    }
    return 0;
}

/* Takes a snapshot in random pieces while changes go on, and loads it into a store of its own. */
static struct user_store *take_snapshot(uint64_t expected_count)
{
    struct user_store *loaded;
    unsigned puts = 0;
    unsigned counters = 0;
    int result = 0;

    ck_assert_int_eq(user_store_new(MAX, SEED, &loaded), 0);
    ck_assert_int_eq(user_store_reserve_users(loaded, expected_count), 0);
    while (result == 0) {
        for (unsigned i = below(12); i > 0 && result == 0; i--) {
            result = take(loaded, &puts, &counters);
            ck_assert(puts == 0 || counters > 0); /* counters come first */
        }
        for (unsigned i = below(6); i > 0; i--) {
            change_anything();
        }
    }
    ck_assert_int_eq(result, WAL_SNAPSHOT_END);
    ck_assert_uint_eq(puts, expected_count - 1);
    ck_assert_uint_eq(counters, 1);
    end();
    return loaded;
}

static void replay(struct user_store *store, uint64_t from)
{
    for (uint64_t i = from; i < fixture.revision; i++) {
        struct commit_event event = {.revision = i + 1,
                                     .record_type = fixture.types[i],
                                     .record = buf_bytes(&fixture.log[i])};

        ck_assert_int_eq(user_store_apply(store, &event), 0);
    }
}

static void check_one_moment(void)
{
    struct user_store *loaded;
    struct buf expected;
    uint64_t revision;

    for (unsigned i = below(150); i > 0; i--) {
        change_anything();
    }
    expected = dump(fixture.store);
    revision = fixture.revision;
    loaded = take_snapshot(begin());
    check_same(loaded, &expected);
    replay(loaded, revision);
    expected = dump(fixture.store);
    check_same(loaded, &expected);
    user_store_free(loaded);
}

/* However changes and walk are mixed: what comes out is the store as it was at the beginning; and
 * with the changes since, the store as it is. */
START_TEST(user_snapshot_is_of_one_moment)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        start(seed, UINT64_MAX);
        for (unsigned round = 0; round < 6; round++) {
            check_one_moment();
        }
        finish();
    }
}

END_TEST

/* A store in which nobody ever was has counters all the same. */
START_TEST(user_snapshot_of_nothing)
{
    struct user_store *loaded;
    struct buf before;

    start(1, UINT64_MAX);
    before = dump(fixture.store);
    ck_assert_uint_eq(begin(), 1);
    loaded = NULL;
    ck_assert_int_eq(user_store_new(MAX, SEED, &loaded), 0);
    for (unsigned i = 0, puts = 0, counters = 0; i < 2; i++) {
        ck_assert_int_eq(take(loaded, &puts, &counters), i == 0 ? 0 : WAL_SNAPSHOT_END);
    }
    end();
    check_same(loaded, &before);
    user_store_free(loaded);
    finish();
}

END_TEST

static void fill(void)
{
    for (unsigned id = 0; id < IDS; id++) {
        fixture.usernames[id] = id;
        fixture.emails[id] = id;
        put(id);
    }
}

/* What the walk has passed, and what came after the beginning, is not kept. */
START_TEST(user_snapshot_keeps_only_what_it_needs)
{
    const struct user_snapshot_stats *stats;
    unsigned puts = 0;
    unsigned counters = 0;

    start(1, UINT64_MAX);
    fill();
    drop(IDS - 1);
    stats = user_snapshot_stats(fixture.snapshot);
    begin();
    for (unsigned i = 0; i < 11; i++) { /* the counters and ten users */
        ck_assert_int_eq(take(NULL, &puts, &counters), 0);
    }
    put(3);
    drop(9);
    put(IDS - 1); /* a new one */
    put(IDS - 1);
    ck_assert_uint_eq(stats->kept_entries, 0);
    put(10);
    put(10);
    drop(11);
    ck_assert_uint_eq(stats->kept_entries, 2);
    ck_assert_uint_gt(stats->kept_bytes, 2 * 50);
    ck_assert_uint_eq(stats->kept_max, stats->kept_bytes);
    ck_assert_int_eq(take(NULL, &puts, &counters), 0);
    ck_assert_int_eq(take(NULL, &puts, &counters), 0);
    ck_assert_uint_eq(stats->kept_entries, 0);
    ck_assert_uint_eq(stats->kept_bytes, 0);
    put(12);
    end(); /* before its end: what is kept is freed */
    put(13);
    ck_assert_uint_eq(stats->kept_entries, 0);
    finish();
}

END_TEST

/* A new user who is not among those in the tables. */
static void put_stranger(unsigned i)
{
    struct user_record record = {.sequence = fixture.revision + 1};
    struct buf message = {0};
    struct buf body = {0};
    char texts[4][32];
    struct user user = {0};

    for (unsigned j = 0; j < 3; j++) {
        (void)snprintf(texts[j], sizeof(texts[j]), "%c%u", "nme"[j], i);
    }
    user.id = bytes_from_text(texts[0]);
    user.username = bytes_from_text(texts[1]);
    user.email = bytes_from_text(texts[2]);
    user.etag =
        (struct bytes){(uint8_t *)texts[3], user_record_format_etag(record.sequence, texts[3])};
    ck_assert_int_eq(user_record_append_user(&user, &message), 0);
    record.message = buf_bytes(&message);
    ck_assert_int_eq(user_record_append(&record, &body), 0);
    buf_deinit(&message);
    change(USER_RECORD_PUT, body);
}

/* One call passes over a limited number of users, and says the counters again then. */
START_TEST(user_snapshot_takes_short_steps)
{
    unsigned puts = 0;
    unsigned counters = 0;

    start(1, UINT64_MAX);
    fill();
    begin();
    for (unsigned i = 0; i < 700; i++) {
        put_stranger(i);
    }
    while (take(NULL, &puts, &counters) == 0) {
    }
    ck_assert_uint_eq(puts, IDS);
    ck_assert_uint_eq(counters, 1 + 700 / 256);
    end();
    finish();
}

END_TEST

/* A snapshot that would keep back too much is given up; changes go on, and so may the next one.
 * What was kept is freed in short steps, before the end is told. */
START_TEST(user_snapshot_gives_up_at_its_limit)
{
    const struct user_snapshot_stats *stats;
    unsigned puts = 0;
    unsigned counters = 0;
    uint64_t kept;

    start(1, 50000);
    fill();
    for (unsigned i = 0; i < 900; i++) {
        put_stranger(i);
    }
    stats = user_snapshot_stats(fixture.snapshot);
    begin();
    for (unsigned i = 0; i < 900; i++) {
        put_stranger(i);
        ck_assert_uint_le(stats->kept_bytes, 50000);
    }
    ck_assert_uint_eq(stats->given_up, 1);
    ck_assert_uint_gt(stats->kept_max, 49000);
    kept = stats->kept_entries;
    ck_assert_uint_gt(kept, 256);
    while (take(NULL, &puts, &counters) == 0) {
        ck_assert_uint_lt(stats->kept_entries, kept);
        ck_assert_uint_le(kept, stats->kept_entries + 128);
        kept = stats->kept_entries;
    }
    ck_assert_uint_eq(stats->kept_entries, 0);
    ck_assert_uint_eq(stats->kept_bytes, 0);
    ck_assert_uint_eq(puts, 0);
    ck_assert_int_eq(take(NULL, &puts, &counters), -ENOBUFS);
    end();
    user_store_free(take_snapshot(begin()));
    ck_assert_uint_eq(stats->given_up, 1);
    finish();
}

END_TEST

/* Given up and not asked again, it frees what was kept all the same. */
START_TEST(user_snapshot_ends_while_it_gives_up)
{
    start(1, 2000);
    fill();
    begin();
    for (unsigned id = 0; id < IDS; id++) {
        put(id);
    }
    ck_assert_uint_eq(user_snapshot_stats(fixture.snapshot)->given_up, 1);
    ck_assert_uint_gt(user_snapshot_stats(fixture.snapshot)->kept_entries, 0);
    end();
    finish();
}

END_TEST

/* Without memory to note what is kept back it is given up likewise, and the change is applied. */
START_TEST(user_snapshot_gives_up_without_memory)
{
    unsigned puts = 0;
    unsigned counters = 0;

    start(1, UINT64_MAX);
    fill();
    begin();
    ck_assert_int_eq(change_with_fault(USER_RECORD_DELETE, record_of(5, true), 1), 0);
    ck_assert_int_eq(take(NULL, &puts, &counters), -ENOMEM);
    end();
    finish();
}

END_TEST

UNIT_MAIN("user_snapshot", user_snapshot_is_of_one_moment, user_snapshot_of_nothing,
          user_snapshot_keeps_only_what_it_needs, user_snapshot_takes_short_steps,
          user_snapshot_gives_up_at_its_limit, user_snapshot_ends_while_it_gives_up,
          user_snapshot_gives_up_without_memory)
