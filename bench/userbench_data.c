/*
 * Data directories made by the log itself, without a server: the records are
 * those that userd would have written for so many CreateUser calls with a request_id, or, bare, for
 * so many items of SyncUsers, each followed by nothing.
 *
 * As many records as may wait are appended; each one that became durable makes
 * room for the next, until all are told. Then the log is closed, so that it
 * ends as after a proper stop.
 */
#include "userbench_data.h"

#include "core/buf.h"
#include "core/clock.h"
#include "core/disk.h"
#include "core/random.h"
#include "core/reactor.h"
#include "core/wal.h"
#include "service/user_record.h"
#include "userbench_memory.h"
#include "userbench_options.h"
#include "userbench_problem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PENDING_MAX       4096
#define PENDING_BYTES_MAX (16U * 1024 * 1024)
#define SEGMENT_SIZE      (64U * 1024 * 1024)
#define RING_ENTRIES      64
#define FIRST_CREATED_MS  1700000000000
#define TEXT_SIZE         160

/* As Argon2id writes it with the default settings. */
#define PASSWORD_HASH                                                                              \
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$"                                       \
    "GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo"

struct writer {
    struct reactor reactor;
    struct wal *wal;
    uint64_t made;
    uint64_t durable;
    uint64_t wanted;
    bool is_bare; /* users as SyncUsers makes them: no password, no request_id */
    bool is_closed;
};

struct slot {
    struct wal_append append;
    struct buf record;
    struct writer *writer;
};

static void put_hex(char *out, unsigned digits, uint64_t value)
{
    while (digits-- > 0) {
        out[digits] = "0123456789abcdef"[value & 15];
        value >>= 4;
    }
}

void userbench_data_format_id(uint64_t index, char out[USERBENCH_ID_SIZE])
{
    /* The low digits, spread: neighbours in time are no neighbours in the order of ids. By hand,
     * since a load generator does this for each call. */
    memcpy(out, "00000000-0000-4000-8000-000000000000", USERBENCH_ID_SIZE);
    put_hex(out, 8, (uint32_t)index * 2654435761U);
    put_hex(out + 24, 12, index);
}

/* The texts of one user, with their memory. */
struct texts {
    char id[USERBENCH_ID_SIZE];
    char username[TEXT_SIZE];
    char email[TEXT_SIZE];
    char first_name[TEXT_SIZE];
    char last_name[TEXT_SIZE];
    char avatar_url[TEXT_SIZE];
    char etag[USER_ETAG_SIZE];
};

static struct user make_user(uint64_t index, struct texts *texts)
{
    const int64_t created_at = FIRST_CREATED_MS + (int64_t)index;

    userbench_data_format_id(index, texts->id);
    (void)snprintf(texts->username, TEXT_SIZE, "user.number%07" PRIu64, index); /* all fit */
    (void)snprintf(texts->email, TEXT_SIZE, "user.number%07" PRIu64 "@example.com", index);
    (void)snprintf(texts->first_name, TEXT_SIZE, "First%" PRIu64, index % 1000);
    (void)snprintf(texts->last_name, TEXT_SIZE, "Last%" PRIu64, index / 1000);
    (void)snprintf(texts->avatar_url, TEXT_SIZE, "https://cdn.example.com/avatars/%07" PRIu64,
                   index);
    (void)user_record_format_etag(index + 1, texts->etag);
    return (struct user){
        .id = bytes_from_text(texts->id),
        .username = bytes_from_text(texts->username),
        .email = bytes_from_text(texts->email),
        .created_at = created_at,
        .roles = {BYTES_LITERAL("member")},
        .role_count = 1,
        .status = USER_STATUS_ACTIVE,
        .first_name = bytes_from_text(texts->first_name),
        .last_name = bytes_from_text(texts->last_name),
        .avatar_url = bytes_from_text(texts->avatar_url),
        .updated_at = created_at,
        .etag = bytes_from_text(texts->etag),
    };
}

static void make_record(uint64_t index, bool is_bare, struct buf *out)
{
    struct texts texts;
    const struct user user = make_user(index, &texts);
    struct user_record record = {
        .sequence = index + 1,
    };
    struct buf message = {0};

    if (!is_bare) {
        record.password_hash = BYTES_LITERAL(PASSWORD_HASH);
        record.request_id = user.id;
    }
    buf_clear(out);
    if (user_record_append_user(&user, &message) != 0) {
        userbench_problem("no memory");
    }
    record.message = buf_bytes(&message);
    if (user_record_append(&record, out) != 0) {
        userbench_problem("no memory");
    }
    buf_deinit(&message);
}

/* Returns whether there was a further user to be appended. */
static bool append_next(struct slot *slot)
{
    struct writer *writer = slot->writer;

    if (writer->made == writer->wanted) {
        return false;
    }
    make_record(writer->made, writer->is_bare, &slot->record);
    slot->append.type = USER_RECORD_PUT;
    slot->append.body = buf_bytes(&slot->record);
    if (wal_append(writer->wal, &slot->append) != 0) {
        userbench_problem("the log refuses user %" PRIu64, writer->made);
    }
    writer->made++;
    return true;
}

static void on_durable(struct wal_append *append, int result)
{
    struct slot *slot = CONTAINER_OF(append, struct slot, append);

    if (result != 0) {
        userbench_problem("writing: %s", strerror(-result));
    }
    slot->writer->durable++;
    (void)append_next(slot);
}

static void on_failed(void *owner, int error)
{
    (void)owner;
    userbench_problem("the log: %s", strerror(-error));
}

static void on_space(void *owner, bool no_space)
{
    (void)owner;
    if (no_space) {
        userbench_problem("no room on the disk");
    }
}

static void on_closed(void *owner)
{
    struct writer *writer = owner;

    writer->is_closed = true;
}

static void turn(struct writer *writer)
{
    int result = reactor_turn(&writer->reactor, UINT64_MAX);

    if (result != 0) {
        userbench_problem("the loop: %s", strerror(-result));
    }
}

static int begin_empty(void *context, uint64_t record_count)
{
    (void)context;
    (void)record_count;
    return 0;
}

static int refuse_record(void *context, const struct wal_record *record)
{
    (void)context;
    (void)record;
    userbench_problem("the folder holds data already");
}

static void ignore_progress(void *context, const struct wal_progress *progress)
{
    (void)context;
    (void)progress;
}

static void ignore_notice(void *context, const char *text)
{
    (void)context;
    (void)text;
}

static uint64_t count_users(void *context)
{
    const struct writer *writer = context;

    return writer->durable;
}

static void open_log(struct writer *writer, struct disk *disk)
{
    static const struct wal_replay replay = {
        .begin = begin_empty,
        .record = refuse_record,
        .progress = ignore_progress,
        .notice = ignore_notice,
    };
    static const struct wal_events events = {
        .failed = on_failed,
        .space = on_space,
        .closed = on_closed,
    };
    static const struct wal_snapshot_source source = {.count = count_users}; /* none is taken */
    const struct wal_environment environment = {
        .disk = disk,
        .reactor = &writer->reactor,
        .random = random_system(),
    };
    const struct wal_options options = {
        .segment_size = SEGMENT_SIZE,
        .max_pending = PENDING_MAX,
        .max_pending_bytes = PENDING_BYTES_MAX,
    };
    char problem[WAL_PROBLEM_SIZE];
    pid_t holder;

    if (disk->ops->lock(disk, &holder) != 0) {
        userbench_problem("the folder is in use");
    }
    if (wal_open(&environment, &options, &replay, NULL, problem, &writer->wal) != 0) {
        userbench_problem("%s", problem);
    }
    wal_set_events(writer->wal, &events, writer);
    wal_set_source(writer->wal, &source, writer);
}

static void write_users(struct writer *writer)
{
    struct slot *slots = userbench_memory_get(PENDING_MAX, sizeof(*slots));

    for (unsigned i = 0; i < PENDING_MAX; i++) {
        slots[i].writer = writer;
        slots[i].append.done = on_durable;
        (void)append_next(&slots[i]);
    }
    while (writer->durable < writer->wanted) {
        turn(writer);
    }
    wal_close(writer->wal);
    while (!writer->is_closed) {
        turn(writer);
    }
    for (unsigned i = 0; i < PENDING_MAX; i++) {
        buf_deinit(&slots[i].record);
    }
    free(slots);
}

int userbench_data_run(const struct userbench_options *options)
{
    const struct ring_options ring_options = {.entries = RING_ENTRIES};
    const uint64_t start_ns = clock_monotonic_ns(clock_system());
    struct writer writer = {.wanted = options->users, .is_bare = options->is_bare};
    char problem[RING_PROBLEM_SIZE];
    struct disk *disk;
    int result;

    if (reactor_init(&writer.reactor, &ring_options, clock_system(), NULL, problem) != 0) {
        userbench_problem("%s", problem);
    }
    result = disk_new(&writer.reactor, options->dir, &disk);
    if (result != 0) {
        userbench_problem("%s: %s", options->dir, strerror(-result));
    }
    open_log(&writer, disk);
    write_users(&writer);
    disk->ops->free(disk);
    reactor_deinit(&writer.reactor);
    (void)printf("users=%u seconds=%.1f\n", options->users,
                 (double)(clock_monotonic_ns(clock_system()) - start_ns) / 1e9);
    return EXIT_SUCCESS;
}
