/*
 * The walk goes through the users in the order of their creation, from begin to end, while changes
 * go on in between. What it hands out is the state at the beginning:
 *
 *   1. begin: the LSN reached is B. The counters of that moment are kept; from here on the store
 *      tells us of every entry that a change takes out.
 *   2. An entry taken out that is of the old state (its revision is not after B) and that the walk
 *      has not passed (its sequence is behind the place) is kept back, in an array. Entries never
 *      change, so keeping the pointer is keeping the old form.
 *   3. next: first the counters; then whatever is kept back, so that it is freed soon; then the
 * next user of the walk, but not one whose revision is after B: that one came later, and if it took
 *      somebody's place, his old form was kept back.
 *
 * Where a change was made to many users in a row, or many came in at the end, the walk has nothing
 * to hand out for a while. So that no call takes long for it, the counters are handed out again
 * then, which does no harm.
 *
 * So each user of the old state is handed out once: as long as he is in the store and unchanged the
 * walk finds him, and when he goes before that he is kept. The place is a sequence, not a cursor,
 * which would not survive a change; between two changes a cursor saves the search.
 *
 * What can go wrong: changes outrun the walk, and the entries kept back take more than max_kept, or
 * there is no memory to note one. The snapshot is given up then: `next` frees what was kept, in
 * short steps as there may be very much of it, and says so in the end. The changes themselves never
 * fail for it.
 */
#include "service/user_snapshot.h"

#include "core/buf.h"
#include "core/list.h"
#include "service/user_order.h"
#include "service/user_record.h"
#include "service/user_store.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define KEPT_FIRST  64  /* entries the array has room for at first */
#define SKIPPED_MAX 256 /* users that one call passes over */
#define FREED_MAX   128 /* entries that one call frees */

struct user_snapshot {
    struct user_store *store;
    struct user_store_keeper keeper;
    uint64_t max_kept;
    uint64_t lsn;
    struct user_counters counters; /* at the beginning */
    bool counters_told;
    int failure;       /* why it was given up, negative errno; 0 = it goes on */
    uint64_t sequence; /* the walk has passed all up to here */
    uint64_t walked;   /* user_store_applied() for which the cursor is good */
    struct user_order_cursor cursor;
    struct user_entry **kept;
    size_t kept_capacity;
    struct buf record; /* the body handed out last */
    struct user_snapshot_stats stats;
};

int user_snapshot_new(struct user_store *store, uint64_t max_kept,
                      struct user_snapshot **ret_snapshot)
{
    struct user_snapshot *snapshot = calloc(1, sizeof(*snapshot));

    if (snapshot == NULL) {
        return -ENOMEM;
    }
    snapshot->store = store;
    snapshot->max_kept = max_kept;
    *ret_snapshot = snapshot;
    return 0;
}

/* There must be one. It is the caller's from now on. */
static struct user_entry *take_kept(struct user_snapshot *snapshot)
{
    struct user_snapshot_stats *stats = &snapshot->stats;
    struct user_entry *entry = snapshot->kept[--stats->kept_entries];

    stats->kept_bytes -= user_entry_size(entry) + sizeof(struct user_entry *);
    return entry;
}

static void free_kept(struct user_snapshot *snapshot, uint64_t most)
{
    for (uint64_t i = 0; i < most && snapshot->stats.kept_entries > 0; i++) {
        free(take_kept(snapshot));
    }
}

/* No more entries are kept back; `next` will tell. */
static void give_up(struct user_snapshot *snapshot, int failure)
{
    user_store_set_keeper(snapshot->store, NULL);
    snapshot->failure = failure;
    snapshot->stats.given_up++;
}

/* Returns 0 or -ENOMEM. */
static int make_room(struct user_snapshot *snapshot)
{
    size_t capacity = snapshot->kept_capacity == 0 ? KEPT_FIRST : snapshot->kept_capacity * 2;
    struct user_entry **kept;

    if (snapshot->stats.kept_entries < snapshot->kept_capacity) {
        return 0;
    }
    kept = realloc(snapshot->kept, capacity * sizeof(struct user_entry *)); /* max_kept bounds it */
    if (kept == NULL) {
        return -ENOMEM;
    }
    snapshot->kept = kept;
    snapshot->kept_capacity = capacity;
    return 0;
}

static bool keep(struct user_store_keeper *keeper, struct user_entry *entry)
{
    struct user_snapshot *snapshot = CONTAINER_OF(keeper, struct user_snapshot, keeper);
    struct user_snapshot_stats *stats = &snapshot->stats;
    size_t size = user_entry_size(entry) + sizeof(struct user_entry *);

    if (user_entry_revision(entry) > snapshot->lsn ||
        user_entry_sequence(entry) <= snapshot->sequence) {
        return false;
    }
    if (stats->kept_bytes + size > snapshot->max_kept) {
        give_up(snapshot, -ENOBUFS);
        return false;
    }
    if (make_room(snapshot) != 0) {
        give_up(snapshot, -ENOMEM);
        return false;
    }
    snapshot->kept[stats->kept_entries++] = entry;
    stats->kept_bytes += size;
    if (stats->kept_bytes > stats->kept_max) {
        stats->kept_max = stats->kept_bytes;
    }
    return true;
}

static int snapshot_begin(void *context, uint64_t lsn, uint64_t *ret_record_count)
{
    struct user_snapshot *snapshot = context;

    assert(!snapshot->stats.is_running);
    snapshot->stats.is_running = true;
    snapshot->lsn = lsn;
    snapshot->counters = user_store_counters(snapshot->store);
    snapshot->counters_told = false;
    snapshot->failure = 0;
    snapshot->sequence = 0;
    snapshot->cursor = user_order_after(user_store_order(snapshot->store), 0);
    snapshot->walked = user_store_applied(snapshot->store);
    snapshot->keeper.keep = keep;
    user_store_set_keeper(snapshot->store, &snapshot->keeper);
    *ret_record_count = user_store_count(snapshot->store) + 1; /* the counters */
    return 0;
}

/* The next user in the order. NULL at the end. */
static const struct user_entry *step(struct user_snapshot *snapshot)
{
    const struct user_order *order = user_store_order(snapshot->store);
    const struct user_entry *entry;

    if (snapshot->walked != user_store_applied(snapshot->store)) {
        snapshot->walked = user_store_applied(snapshot->store);
        snapshot->cursor = user_order_after(order, snapshot->sequence);
    }
    entry = user_order_next(order, &snapshot->cursor);
    if (entry != NULL) {
        snapshot->sequence = user_entry_sequence(entry);
    }
    return entry;
}

static int pack_entry(const struct user_entry *entry, struct buf *out)
{
    const struct user_record record = {
        .message = user_entry_message(entry),
        .password_hash = user_entry_password_hash(entry),
        .request_id = user_entry_request_id(entry),
        .sequence = user_entry_sequence(entry),
    };

    return user_record_append(&record, out);
}

static int pack_kept(struct user_snapshot *snapshot, struct wal_record *record)
{
    struct user_entry *entry = take_kept(snapshot);
    int result = pack_entry(entry, &snapshot->record);

    record->lsn = user_entry_revision(entry);
    free(entry);
    return result;
}

static int pack_counters(struct user_snapshot *snapshot, struct wal_record *record)
{
    record->type = USER_RECORD_COUNTERS;
    return user_record_append_counters(&snapshot->counters, &snapshot->record);
}

/* The next user of the old state that is still in the store. */
static int pack_walked(struct user_snapshot *snapshot, struct wal_record *record)
{
    for (int i = 0; i < SKIPPED_MAX; i++) {
        const struct user_entry *entry = step(snapshot);

        if (entry == NULL) {
            return WAL_SNAPSHOT_END;
        }
        if (user_entry_revision(entry) <= snapshot->lsn) {
            record->lsn = user_entry_revision(entry);
            return pack_entry(entry, &snapshot->record);
        }
    }
    return pack_counters(snapshot, record);
}

/* It was given up: frees some of what was kept, or says why in the end. */
static int pack_end(struct user_snapshot *snapshot, struct wal_record *record)
{
    if (snapshot->stats.kept_entries == 0) {
        return snapshot->failure;
    }
    free_kept(snapshot, FREED_MAX);
    return pack_counters(snapshot, record);
}

static int snapshot_next(void *context, struct wal_record *ret_record)
{
    struct user_snapshot *snapshot = context;
    struct wal_record record = {.type = USER_RECORD_PUT, .is_in_snapshot = true};
    int result;

    assert(snapshot->stats.is_running);
    buf_clear(&snapshot->record);
    if (snapshot->failure != 0) {
        result = pack_end(snapshot, &record);
    } else if (!snapshot->counters_told) {
        snapshot->counters_told = true;
        result = pack_counters(snapshot, &record);
    } else if (snapshot->stats.kept_entries > 0) {
        result = pack_kept(snapshot, &record);
    } else {
        result = pack_walked(snapshot, &record);
    }
    if (result == 0) {
        record.body = buf_bytes(&snapshot->record);
        *ret_record = record;
    }
    return result;
}

static void snapshot_end(void *context)
{
    struct user_snapshot *snapshot = context;

    assert(snapshot->stats.is_running);
    snapshot->stats.is_running = false;
    if (snapshot->failure == 0) {
        user_store_set_keeper(snapshot->store, NULL);
    }
    free_kept(snapshot, UINT64_MAX);
    free(snapshot->kept);
    snapshot->kept = NULL;
    snapshot->kept_capacity = 0;
    buf_deinit(&snapshot->record);
}

void user_snapshot_free(struct user_snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    if (snapshot->stats.is_running) {
        snapshot_end(snapshot);
    }
    free(snapshot);
}

const struct wal_snapshot_source *user_snapshot_source(void)
{
    static const struct wal_snapshot_source source = {
        .begin = snapshot_begin,
        .next = snapshot_next,
        .end = snapshot_end,
    };

    return &source;
}

const struct user_snapshot_stats *user_snapshot_stats(const struct user_snapshot *snapshot)
{
    return &snapshot->stats;
}
