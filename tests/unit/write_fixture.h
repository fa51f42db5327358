/*
 * A writer over a store and the fakes, and what is told of its writes. Include it in one file of a
 * test program only.
 *
 * Thread: one.
 */
#ifndef UNIT_WRITE_FIXTURE_H
#define UNIT_WRITE_FIXTURE_H

#include "lib/unit.h"

#include "service/user_write.h"
#include "write_fakes.h"

#define NOW_MS 1700000000000ULL

struct fixture {
    struct user_writer writer;
    struct fake_log log;
    struct fake_clock clock;
    struct fake_random random;
    uint64_t revision;
};

/* What became of a write. */
struct told {
    struct user_write *write;
    enum user_write_outcome outcome;
    int count;
    struct user user;   /* with DONE */
    struct buf message; /* holds the texts of `user` */
    int order;          /* among all that were told */
};

static int told_count;

static inline void on_events(void *context, const struct commit_event *events, size_t count)
{
    struct fixture *fixture = context;

    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(user_store_apply(fixture->writer.store, &events[i]), 0);
    }
}

static const struct commit_log_callbacks CALLBACKS = {.events = on_events};

static inline void start(struct fixture *fixture)
{
    static const struct hash_seed seed = {{3, 4}};

    *fixture = (struct fixture){0};
    fake_pool_init(100);
    fake_log_init(&fixture->log);
    fixture->log.callbacks = &CALLBACKS;
    fixture->log.context = fixture;
    fake_clock_init(&fixture->clock, NOW_MS);
    fake_random_init(&fixture->random, 5);
    fixture->writer = (struct user_writer){
        .log = &fixture->log.log,
        .clock = &fixture->clock.source,
        .ids = {.random = &fixture->random.source},
        .cost = {8, 1},
    };
    ck_assert_int_eq(user_store_new(20, seed, &fixture->writer.store), 0);
}

static inline void finish(struct fixture *fixture)
{
    ck_assert_uint_eq(fixture->writer.live_count, 0);
    user_writer_deinit(&fixture->writer);
    user_store_free(fixture->writer.store);
    fake_log_deinit(&fixture->log);
}

static inline void note(struct told *told, enum user_write_outcome outcome)
{
    const struct user_write *write = told->write;

    told->outcome = outcome;
    told->count++;
    told->order = ++told_count;
    if (outcome == USER_WRITE_DONE && write->kind != USER_WRITE_DELETE) {
        struct bytes message = user_entry_message(write->entry);

        ck_assert_int_eq(buf_append(&told->message, message.data, message.size), 0);
        ck_assert_int_eq(user_record_read_user(buf_bytes(&told->message), &told->user), 0);
    }
    user_write_free(told->write);
}

static inline void on_done(struct user_write *write, enum user_write_outcome outcome)
{
    note(write->owner, outcome);
}

static inline void set_out(struct told *told)
{
    enum user_write_outcome outcome = user_write_start(told->write);

    if (outcome != USER_WRITE_ON_ITS_WAY) {
        note(told, outcome);
    }
}

static inline void create_as(struct fixture *fixture, struct told *told, const char *username,
                             const char *email, const char *request_id)
{
    struct user_draft draft = {.username = bytes_from_text(username),
                               .email = bytes_from_text(email),
                               .password = BYTES_LITERAL("correct horse"),
                               .request_id = bytes_from_text(request_id)};

    *told = (struct told){0};
    told->write = user_write_new(&fixture->writer, USER_WRITE_CREATE, on_done, told);
    ck_assert_ptr_nonnull(told->write);
    ck_assert_int_eq(user_write_set_draft(told->write, &draft), 0);
    set_out(told);
}

static inline void create(struct fixture *fixture, struct told *told, const char *username,
                          const char *email)
{
    create_as(fixture, told, username, email, "");
}

static inline void update(struct fixture *fixture, struct told *told, struct bytes id,
                          const struct user_patch *patch)
{
    *told = (struct told){0};
    told->write = user_write_new(&fixture->writer, USER_WRITE_UPDATE, on_done, told);
    ck_assert_ptr_nonnull(told->write);
    told->write->id = id;
    told->write->etag = patch->user.etag;
    told->write->patch = patch;
    set_out(told);
}

static inline void remove_user(struct fixture *fixture, struct told *told, struct bytes id,
                               struct bytes etag)
{
    *told = (struct told){0};
    told->write = user_write_new(&fixture->writer, USER_WRITE_DELETE, on_done, told);
    ck_assert_ptr_nonnull(told->write);
    told->write->id = id;
    told->write->etag = etag;
    set_out(told);
}

static inline void settle_all(struct fixture *fixture)
{
    fake_pool_run();
    fake_log_settle_all(&fixture->log);
}

/* A stored user; `told->user` describes it. */
static inline void make(struct fixture *fixture, struct told *told, const char *username,
                        const char *email)
{
    create(fixture, told, username, email);
    settle_all(fixture);
    ck_assert_int_eq(told->outcome, USER_WRITE_DONE);
}

static inline struct user_patch rename_to(const char *username)
{
    return (struct user_patch){.user = {.username = bytes_from_text(username)},
                               .fields = USER_PATCH_USERNAME};
}

static inline bool is_text(struct bytes bytes, const char *text)
{
    return bytes_equal(bytes, bytes_from_text(text));
}

#endif
