#include "lib/unit.h"

#include "service/user_write.h"
#include "write_fakes.h"

#include <errno.h>
#include <stdio.h>

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

static void on_events(void *context, const struct commit_event *events, size_t count)
{
    struct fixture *fixture = context;

    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(user_store_apply(fixture->writer.store, &events[i]), 0);
    }
}

static const struct commit_log_callbacks CALLBACKS = {.events = on_events};

static void start(struct fixture *fixture)
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

static void finish(struct fixture *fixture)
{
    ck_assert_uint_eq(fixture->writer.live_count, 0);
    user_writer_deinit(&fixture->writer);
    user_store_free(fixture->writer.store);
    fake_log_deinit(&fixture->log);
}

static void note(struct told *told, enum user_write_outcome outcome)
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

static void on_done(struct user_write *write, enum user_write_outcome outcome)
{
    note(write->owner, outcome);
}

static void set_out(struct told *told)
{
    enum user_write_outcome outcome = user_write_start(told->write);

    if (outcome != USER_WRITE_ON_ITS_WAY) {
        note(told, outcome);
    }
}

static void create_as(struct fixture *fixture, struct told *told, const char *username,
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

static void create(struct fixture *fixture, struct told *told, const char *username,
                   const char *email)
{
    create_as(fixture, told, username, email, "");
}

static void update(struct fixture *fixture, struct told *told, struct bytes id,
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

static void remove_user(struct fixture *fixture, struct told *told, struct bytes id,
                        struct bytes etag)
{
    *told = (struct told){0};
    told->write = user_write_new(&fixture->writer, USER_WRITE_DELETE, on_done, told);
    ck_assert_ptr_nonnull(told->write);
    told->write->id = id;
    told->write->etag = etag;
    set_out(told);
}

static void settle_all(struct fixture *fixture)
{
    fake_pool_run();
    fake_log_settle_all(&fixture->log);
}

/* A stored user; `told->user` describes it. */
static void make(struct fixture *fixture, struct told *told, const char *username,
                 const char *email)
{
    create(fixture, told, username, email);
    settle_all(fixture);
    ck_assert_int_eq(told->outcome, USER_WRITE_DONE);
}

static struct user_patch rename_to(const char *username)
{
    return (struct user_patch){.user = {.username = bytes_from_text(username)},
                               .fields = USER_PATCH_USERNAME};
}

static bool is_text(struct bytes bytes, const char *text)
{
    return bytes_equal(bytes, bytes_from_text(text));
}

/* A new user has what the server sets, and is there when the log has it, not before. */
START_TEST(user_write_creates)
{
    static struct fixture fixture;
    static struct told told;

    start(&fixture);
    create(&fixture, &told, "Anna", "Anna@x.org");
    ck_assert_int_eq(told.count, 0);
    ck_assert(list_is_empty(&fixture.log.submitted)); /* the hash comes first */
    fake_pool_run();
    ck_assert(!list_is_empty(&fixture.log.submitted));
    ck_assert_uint_eq(user_store_count(fixture.writer.store), 0);
    ck_assert_int_eq(told.count, 0);
    fake_log_settle_all(&fixture.log);
    ck_assert_int_eq(told.count, 1);
    ck_assert_int_eq(told.outcome, USER_WRITE_DONE);
    ck_assert_uint_eq(told.user.id.size, 36);
    ck_assert(is_text(told.user.username, "Anna"));
    ck_assert(is_text(told.user.email, "Anna@x.org"));
    ck_assert_int_eq(told.user.created_at, NOW_MS);
    ck_assert_int_eq(told.user.updated_at, NOW_MS);
    ck_assert_int_eq(told.user.status, USER_STATUS_ACTIVE);
    ck_assert_uint_eq(told.user.role_count, 0);
    ck_assert(is_text(told.user.etag, "\"1\""));
    buf_deinit(&told.message);
    finish(&fixture);
}

END_TEST

/* The record keeps the hash and never the password. */
START_TEST(user_write_logs_no_password)
{
    static struct fixture fixture;
    static struct told told;
    struct user_record record;
    struct bytes body;

    start(&fixture);
    make(&fixture, &told, "anna", "a@x");
    body = fixture.log.records[0].body;
    ck_assert_ptr_null(memmem(body.data, body.size, "correct horse", 13));
    ck_assert_int_eq(user_record_read(USER_RECORD_PUT, body, &record), 0);
    ck_assert_mem_eq(record.password_hash.data, "$argon2id$v=19$m=8,t=1,p=1$", 27);
    ck_assert_ptr_null(memmem(record.message.data, record.message.size, "argon2", 6));
    buf_deinit(&told.message);
    finish(&fixture);
}

END_TEST

/* Of two creates of one name at once the second is refused before it costs a hash. */
START_TEST(user_write_reserves_before_it_hashes)
{
    static struct fixture fixture;
    static struct told told[3];

    start(&fixture);
    create(&fixture, &told[0], "anna", "a@x");
    create(&fixture, &told[1], "ANNA", "b@x");
    create(&fixture, &told[2], "berta", "A@x");
    ck_assert_int_eq(told[1].outcome, USER_WRITE_USERNAME_TAKEN);
    ck_assert_int_eq(told[2].outcome, USER_WRITE_EMAIL_TAKEN);
    settle_all(&fixture);
    ck_assert_uint_eq(fake_pool.works_run, 1);
    ck_assert_int_eq(told[0].outcome, USER_WRITE_DONE);
    buf_deinit(&told[0].message);
    finish(&fixture);
}

END_TEST

/* What the log refuses is told as it is, and the names are free again. */
START_TEST(user_write_tells_what_the_log_said)
{
    static const struct {
        enum commit_outcome from;
        enum user_write_outcome to;
    } rows[] = {
        {COMMIT_CONFLICT, USER_WRITE_CONFLICT},   {COMMIT_NOT_SENT, USER_WRITE_NOT_SENT},
        {COMMIT_FULL, USER_WRITE_LOG_FULL},       {COMMIT_NO_SPACE, USER_WRITE_NO_SPACE},
        {COMMIT_TOO_LARGE, USER_WRITE_TOO_LARGE},
    };
    static struct fixture fixture;
    static struct told told;

    start(&fixture);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        create(&fixture, &told, "anna", "a@x");
        fake_pool_run();
        ck_assert(fake_log_settle(&fixture.log, rows[i].from));
        ck_assert_int_eq(told.outcome, rows[i].to);
    }
    ck_assert_uint_eq(user_store_count(fixture.writer.store), 0);
    make(&fixture, &told, "anna", "a@x");
    buf_deinit(&told.message);
    finish(&fixture);
}

END_TEST

/* After an unknown outcome the names stay reserved, what waited is told that it was not sent, reads
 * go on. */
START_TEST(user_write_keeps_names_of_unknown_outcome)
{
    static struct fixture fixture;
    static struct told anna;
    static struct told first;
    static struct told second;
    static struct told later;
    struct user_patch patch = rename_to("berta");

    start(&fixture);
    make(&fixture, &anna, "anna", "a@x");
    update(&fixture, &first, anna.user.id, &patch);
    update(&fixture, &second, anna.user.id, &patch);
    ck_assert_int_eq(second.count, 0);
    ck_assert(fake_log_settle(&fixture.log, COMMIT_UNKNOWN));
    ck_assert_int_eq(first.outcome, USER_WRITE_UNKNOWN);
    ck_assert_int_eq(second.outcome, USER_WRITE_NOT_SENT);
    create(&fixture, &later, "berta", "b@x");
    ck_assert_int_eq(later.outcome, USER_WRITE_USERNAME_TAKEN);
    remove_user(&fixture, &later, anna.user.id, (struct bytes){0});
    ck_assert_int_eq(later.outcome, USER_WRITE_NOT_SENT);
    ck_assert_ptr_nonnull(user_store_find(fixture.writer.store, anna.user.id));
    buf_deinit(&anna.message);
    finish(&fixture);
}

END_TEST

/* A failed log refuses every change before it costs anything. */
START_TEST(user_write_refuses_after_the_log_failed)
{
    static struct fixture fixture;
    static struct told anna;
    static struct told told;
    struct user_patch patch = rename_to("berta");

    start(&fixture);
    create_as(&fixture, &anna, "anna", "a@x", "r-1");
    settle_all(&fixture);
    create(&fixture, &told, "dora", "d@x");
    fixture.writer.log_failed = true;
    fake_pool_run();
    ck_assert_int_eq(told.outcome, USER_WRITE_NOT_SENT);
    create(&fixture, &told, "carl", "c@x");
    ck_assert_int_eq(told.outcome, USER_WRITE_NOT_SENT);
    update(&fixture, &told, anna.user.id, &patch);
    ck_assert_int_eq(told.outcome, USER_WRITE_NOT_SENT);
    remove_user(&fixture, &told, anna.user.id, (struct bytes){0});
    ck_assert_int_eq(told.outcome, USER_WRITE_NOT_SENT);
    create_as(&fixture, &told, "anna", "a@x", "r-1"); /* that is a read */
    ck_assert_int_eq(told.outcome, USER_WRITE_DONE);
    ck_assert_uint_eq(fake_pool.works_run, 2);
    buf_deinit(&told.message);
    buf_deinit(&anna.message);
    finish(&fixture);
}

END_TEST

/* An update changes what it names, and the etag, and the time; the rest stays. */
START_TEST(user_write_updates)
{
    static struct fixture fixture;
    static struct told anna;
    static struct told told;
    struct user_patch patch = rename_to("Berta");
    const struct user_entry *entry;

    start(&fixture);
    create_as(&fixture, &anna, "Anna", "A@x", "r-1");
    settle_all(&fixture);
    fixture.clock.now_ms += 5;
    update(&fixture, &told, anna.user.id, &patch);
    entry = user_store_find(fixture.writer.store, anna.user.id);
    ck_assert(is_text(user_entry_username(entry), "anna"));
    settle_all(&fixture);
    ck_assert_int_eq(told.outcome, USER_WRITE_DONE);
    ck_assert(is_text(told.user.username, "Berta"));
    ck_assert(is_text(told.user.email, "A@x"));
    ck_assert_int_eq(told.user.created_at, NOW_MS);
    ck_assert_int_eq(told.user.updated_at, NOW_MS + 5);
    ck_assert(!bytes_equal(told.user.etag, anna.user.etag));
    entry = user_store_find(fixture.writer.store, anna.user.id);
    ck_assert_uint_eq(user_entry_sequence(entry), 1);
    ck_assert(is_text(user_entry_request_id(entry), "r-1"));
    ck_assert_mem_eq(user_entry_password_hash(entry).data, "$argon2id$", 10);
    buf_deinit(&told.message);
    buf_deinit(&anna.message);
    finish(&fixture);
}

END_TEST

/* An update that changes nothing is answered at once, with nothing logged and the etag as it was.
 */
START_TEST(user_write_logs_no_change_that_is_none)
{
    static struct fixture fixture;
    static struct told anna;
    static struct told told;
    struct user_patch patch = rename_to("anna");
    struct user_patch nothing = {0};

    start(&fixture);
    make(&fixture, &anna, "anna", "a@x");
    fixture.clock.now_ms += 5;
    update(&fixture, &told, anna.user.id, &patch);
    ck_assert_int_eq(told.outcome, USER_WRITE_DONE);
    ck_assert(bytes_equal(told.user.etag, anna.user.etag));
    buf_deinit(&told.message);
    update(&fixture, &told, anna.user.id, &nothing);
    ck_assert_int_eq(told.outcome, USER_WRITE_DONE);
    ck_assert_int_eq(told.user.updated_at, NOW_MS);
    ck_assert_uint_eq(fixture.log.record_count, 1);
    ck_assert(list_is_empty(&fixture.log.submitted));
    buf_deinit(&told.message);
    buf_deinit(&anna.message);
    finish(&fixture);
}

END_TEST

/* A clock that went back takes no time of a user back. */
START_TEST(user_write_times_never_go_back)
{
    static struct fixture fixture;
    static struct told anna;
    static struct told berta;
    static struct told told;
    struct user_patch patch = rename_to("carl");

    start(&fixture);
    make(&fixture, &anna, "anna", "a@x");
    fixture.clock.now_ms -= 1000;
    make(&fixture, &berta, "berta", "b@x");
    ck_assert_int_eq(berta.user.created_at, NOW_MS);
    update(&fixture, &told, anna.user.id, &patch);
    settle_all(&fixture);
    ck_assert_int_eq(told.user.updated_at, NOW_MS);
    buf_deinit(&told.message);
    buf_deinit(&anna.message);
    buf_deinit(&berta.message);
    finish(&fixture);
}

END_TEST

/* Changes of one user wait for each other, each on top of the one before, in the order they came.
 */
START_TEST(user_write_queues_changes_of_one_user)
{
    static struct fixture fixture;
    static struct told anna;
    static struct told told[3];
    struct user_patch name = rename_to("berta");
    struct user_patch roles = {.user = {.roles = {BYTES_LITERAL("admin")}, .role_count = 1},
                               .fields = USER_PATCH_ROLES};
    struct user_patch status = {.user = {.status = USER_STATUS_SUSPENDED},
                                .fields = USER_PATCH_STATUS};

    start(&fixture);
    make(&fixture, &anna, "anna", "a@x");
    update(&fixture, &told[0], anna.user.id, &name);
    update(&fixture, &told[1], anna.user.id, &roles);
    update(&fixture, &told[2], anna.user.id, &status);
    ck_assert(fake_log_settle(&fixture.log, COMMIT_DONE));
    ck_assert_int_eq(told[0].count, 1);
    ck_assert_int_eq(told[1].count, 0);
    fake_log_settle_all(&fixture.log);
    ck_assert_int_eq(told[1].outcome, USER_WRITE_DONE);
    ck_assert_int_eq(told[2].outcome, USER_WRITE_DONE);
    ck_assert_int_lt(told[0].order, told[1].order);
    ck_assert_int_lt(told[1].order, told[2].order);
    ck_assert(is_text(told[2].user.username, "berta"));
    ck_assert_uint_eq(told[2].user.role_count, 1);
    ck_assert_int_eq(told[2].user.status, USER_STATUS_SUSPENDED);
    for (int i = 0; i < 3; i++) {
        buf_deinit(&told[i].message);
    }
    buf_deinit(&anna.message);
    finish(&fixture);
}

END_TEST

/* When a change fails, the next one plans on what is stored, not on what came to nothing. */
START_TEST(user_write_survives_the_failure_before_it)
{
    static struct fixture fixture;
    static struct told anna;
    static struct told first;
    static struct told second;
    struct user_patch name = rename_to("berta");
    struct user_patch status = {.user = {.status = USER_STATUS_SUSPENDED},
                                .fields = USER_PATCH_STATUS};

    start(&fixture);
    make(&fixture, &anna, "anna", "a@x");
    update(&fixture, &first, anna.user.id, &name);
    update(&fixture, &second, anna.user.id, &status);
    ck_assert(fake_log_settle(&fixture.log, COMMIT_FULL));
    ck_assert_int_eq(first.outcome, USER_WRITE_LOG_FULL);
    fake_log_settle_all(&fixture.log);
    ck_assert_int_eq(second.outcome, USER_WRITE_DONE);
    ck_assert(is_text(second.user.username, "anna"));
    ck_assert_int_eq(second.user.status, USER_STATUS_SUSPENDED);
    buf_deinit(&second.message);
    buf_deinit(&anna.message);
    finish(&fixture);
}

END_TEST

/* Behind a delete there is nothing to change. */
START_TEST(user_write_finds_nothing_behind_a_delete)
{
    static struct fixture fixture;
    static struct told anna;
    static struct told gone;
    static struct told told[2];
    struct user_patch patch = rename_to("berta");

    start(&fixture);
    make(&fixture, &anna, "anna", "a@x");
    remove_user(&fixture, &gone, anna.user.id, (struct bytes){0});
    update(&fixture, &told[0], anna.user.id, &patch);
    remove_user(&fixture, &told[1], anna.user.id, (struct bytes){0});
    ck_assert_ptr_nonnull(user_store_find(fixture.writer.store, anna.user.id));
    fake_log_settle_all(&fixture.log);
    ck_assert_int_eq(gone.outcome, USER_WRITE_DONE);
    ck_assert_int_eq(told[0].outcome, USER_WRITE_NOT_FOUND);
    ck_assert_int_eq(told[1].outcome, USER_WRITE_NOT_FOUND);
    ck_assert_uint_eq(user_store_count(fixture.writer.store), 0);
    ck_assert_uint_eq(fixture.log.record_count, 2);
    make(&fixture, &told[0], "anna", "a@x");
    buf_deinit(&told[0].message);
    buf_deinit(&anna.message);
    finish(&fixture);
}

END_TEST

/* An etag is judged against what is stored when the turn of the change has come. */
START_TEST(user_write_checks_etags)
{
    static struct fixture fixture;
    static struct told anna;
    static struct told first;
    static struct told second;
    struct user_patch patch = rename_to("berta");
    struct user_patch other = rename_to("carl");

    start(&fixture);
    make(&fixture, &anna, "anna", "a@x");
    patch.user.etag = anna.user.etag;
    other.user.etag = anna.user.etag;
    update(&fixture, &first, anna.user.id, &patch);
    update(&fixture, &second, anna.user.id, &other);
    fake_log_settle_all(&fixture.log);
    ck_assert_int_eq(first.outcome, USER_WRITE_DONE);
    ck_assert_int_eq(second.outcome, USER_WRITE_STALE);
    remove_user(&fixture, &second, anna.user.id, anna.user.etag);
    ck_assert_int_eq(second.outcome, USER_WRITE_STALE);
    remove_user(&fixture, &second, anna.user.id, first.user.etag);
    fake_log_settle_all(&fixture.log);
    ck_assert_int_eq(second.outcome, USER_WRITE_DONE);
    buf_deinit(&first.message);
    buf_deinit(&anna.message);
    finish(&fixture);
}

END_TEST

/* At most so many wait for one user; the next is told so, and those before are served. */
START_TEST(user_write_limits_the_queue)
{
    static struct fixture fixture;
    static struct told anna;
    struct told *told = calloc(USER_WRITE_WAITERS_MAX + 2, sizeof(*told));
    struct user_patch names[2] = {rename_to("berta"), rename_to("carl")};

    ck_assert_ptr_nonnull(told);
    start(&fixture);
    make(&fixture, &anna, "anna", "a@x");
    for (unsigned i = 0; i < USER_WRITE_WAITERS_MAX + 2; i++) {
        update(&fixture, &told[i], anna.user.id, &names[i % 2]);
    }
    ck_assert_int_eq(told[USER_WRITE_WAITERS_MAX].count, 0);
    ck_assert_int_eq(told[USER_WRITE_WAITERS_MAX + 1].outcome, USER_WRITE_CROWDED);
    fake_log_settle_all(&fixture.log);
    for (unsigned i = 0; i < USER_WRITE_WAITERS_MAX + 1; i++) {
        ck_assert_int_eq(told[i].outcome, USER_WRITE_DONE);
        ck_assert(bytes_equal(told[i].user.username, names[i % 2].user.username));
        ck_assert(i == 0 || told[i].order > told[i - 1].order);
        buf_deinit(&told[i].message);
    }
    buf_deinit(&anna.message);
    free(told);
    finish(&fixture);
}

END_TEST

/* A name is taken by whoever asked first, also for updates. */
START_TEST(user_write_updates_check_names)
{
    static struct fixture fixture;
    static struct told anna;
    static struct told berta;
    static struct told told[2];
    struct user_patch patch = rename_to("Berta");
    struct user_patch fresh = rename_to("carl");

    start(&fixture);
    make(&fixture, &anna, "anna", "a@x");
    make(&fixture, &berta, "berta", "b@x");
    update(&fixture, &told[0], anna.user.id, &patch);
    ck_assert_int_eq(told[0].outcome, USER_WRITE_USERNAME_TAKEN);
    update(&fixture, &told[0], anna.user.id, &fresh);
    update(&fixture, &told[1], berta.user.id, &fresh);
    ck_assert_int_eq(told[1].outcome, USER_WRITE_USERNAME_TAKEN);
    settle_all(&fixture);
    ck_assert_int_eq(told[0].outcome, USER_WRITE_DONE);
    buf_deinit(&told[0].message);
    buf_deinit(&anna.message);
    buf_deinit(&berta.message);
    finish(&fixture);
}

END_TEST

/* The same request_id again gets the user that the first one made, as it is now. */
START_TEST(user_write_repeats_the_first_answer)
{
    static struct fixture fixture;
    static struct told first;
    static struct told again;
    struct user_patch patch = rename_to("berta");

    start(&fixture);
    create_as(&fixture, &first, "anna", "a@x", "r-1");
    settle_all(&fixture);
    create_as(&fixture, &again, "anna", "a@x", "r-1");
    ck_assert_int_eq(again.outcome, USER_WRITE_DONE);
    ck_assert(bytes_equal(again.user.id, first.user.id));
    ck_assert(bytes_equal(again.user.etag, first.user.etag));
    buf_deinit(&again.message);
    update(&fixture, &again, first.user.id, &patch);
    settle_all(&fixture);
    buf_deinit(&again.message);
    create_as(&fixture, &again, "anna", "a@x", "r-1");
    ck_assert_int_eq(again.outcome, USER_WRITE_DONE);
    ck_assert(is_text(again.user.username, "berta"));
    buf_deinit(&again.message);
    remove_user(&fixture, &again, first.user.id, (struct bytes){0});
    settle_all(&fixture);
    create_as(&fixture, &again, "anna", "a@x", "r-1"); /* the window ends with the user */
    settle_all(&fixture);
    ck_assert_int_eq(again.outcome, USER_WRITE_DONE);
    ck_assert(!bytes_equal(again.user.id, first.user.id));
    buf_deinit(&again.message);
    buf_deinit(&first.message);
    finish(&fixture);
}

END_TEST

/* While the first is on its way the second waits, and gets its answer; one hash is paid. */
START_TEST(user_write_waits_for_the_first_answer)
{
    static struct fixture fixture;
    static struct told first;
    static struct told again;

    start(&fixture);
    create_as(&fixture, &first, "anna", "a@x", "r-1");
    create_as(&fixture, &again, "anna", "a@x", "r-1");
    fake_pool_run();
    ck_assert_int_eq(again.count, 0);
    fake_log_settle_all(&fixture.log);
    ck_assert_int_eq(first.outcome, USER_WRITE_DONE);
    ck_assert_int_eq(again.outcome, USER_WRITE_DONE);
    ck_assert(bytes_equal(again.user.id, first.user.id));
    ck_assert_uint_eq(fake_pool.works_run, 1);
    buf_deinit(&again.message);
    buf_deinit(&first.message);
    finish(&fixture);
}

END_TEST

/* When the first comes to nothing, the second does the work. */
START_TEST(user_write_steps_in_for_a_failed_first)
{
    static struct fixture fixture;
    static struct told first;
    static struct told again;

    start(&fixture);
    create_as(&fixture, &first, "anna", "a@x", "r-1");
    create_as(&fixture, &again, "anna", "a@x", "r-1");
    fake_pool_run();
    ck_assert(fake_log_settle(&fixture.log, COMMIT_NO_SPACE));
    ck_assert_int_eq(first.outcome, USER_WRITE_NO_SPACE);
    ck_assert_int_eq(again.count, 0);
    settle_all(&fixture);
    ck_assert_int_eq(again.outcome, USER_WRITE_DONE);
    ck_assert_uint_eq(user_store_count(fixture.writer.store), 1);
    buf_deinit(&again.message);
    finish(&fixture);
}

END_TEST

/* A full hash queue refuses, and reserves nothing. */
START_TEST(user_write_tells_when_the_hash_queue_is_full)
{
    static struct fixture fixture;
    static struct told told[2];

    start(&fixture);
    fake_pool_init(1);
    create(&fixture, &told[0], "anna", "a@x");
    create(&fixture, &told[1], "berta", "b@x");
    ck_assert_int_eq(told[1].outcome, USER_WRITE_HASH_FULL);
    settle_all(&fixture);
    buf_deinit(&told[0].message);
    make(&fixture, &told[1], "berta", "b@x");
    buf_deinit(&told[1].message);
    finish(&fixture);
}

END_TEST

/* The limit of users is told. */
START_TEST(user_write_tells_when_there_are_too_many_users)
{
    static struct fixture fixture;
    static struct told told;
    char name[16];
    char email[16];

    start(&fixture);
    for (int i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof(name), "u%d", i);
        (void)snprintf(email, sizeof(email), "e%d@x", i);
        make(&fixture, &told, name, email);
        buf_deinit(&told.message);
    }
    create(&fixture, &told, "anna", "a@x");
    ck_assert_int_eq(told.outcome, USER_WRITE_TOO_MANY_USERS);
    finish(&fixture);
}

END_TEST

/* A user that another server deletes right behind the change is not found, rather than shown. */
START_TEST(user_write_tells_when_the_user_is_gone)
{
    static struct fixture fixture;
    static struct told anna;
    static struct told told;
    struct user_patch patch = rename_to("berta");
    struct user ghost;
    struct user_record record = {0};
    struct buf message = {0};
    struct buf body = {0};
    struct commit_mutation *mutation;
    struct commit_event events[2];

    start(&fixture);
    make(&fixture, &anna, "anna", "a@x");
    ghost = (struct user){.id = anna.user.id, .etag = BYTES_LITERAL("\"ff\"")};
    ck_assert_int_eq(user_record_append_user(&ghost, &message), 0);
    record.message = buf_bytes(&message);
    ck_assert_int_eq(user_record_append(&record, &body), 0);
    update(&fixture, &told, anna.user.id, &patch);
    ck_assert(!list_is_empty(&fixture.log.submitted));
    mutation = CONTAINER_OF(fixture.log.submitted.next, struct commit_mutation, link);
    list_remove(&mutation->link);
    events[0] = (struct commit_event){
        .revision = 2, .record_type = USER_RECORD_PUT, .record = mutation->record};
    events[1] = (struct commit_event){
        .revision = 3, .record_type = USER_RECORD_DELETE, .record = buf_bytes(&body)};
    on_events(&fixture, events, 2);
    mutation->done(mutation, COMMIT_DONE, 2);
    ck_assert_int_eq(told.outcome, USER_WRITE_NOT_FOUND);
    buf_deinit(&message);
    buf_deinit(&body);
    buf_deinit(&anna.message);
    finish(&fixture);
}

END_TEST

UNIT_MAIN("user_write", user_write_creates, user_write_logs_no_password,
          user_write_reserves_before_it_hashes, user_write_tells_what_the_log_said,
          user_write_keeps_names_of_unknown_outcome, user_write_refuses_after_the_log_failed,
          user_write_updates, user_write_logs_no_change_that_is_none,
          user_write_times_never_go_back, user_write_queues_changes_of_one_user,
          user_write_survives_the_failure_before_it, user_write_finds_nothing_behind_a_delete,
          user_write_checks_etags, user_write_limits_the_queue, user_write_updates_check_names,
          user_write_repeats_the_first_answer, user_write_waits_for_the_first_answer,
          user_write_steps_in_for_a_failed_first, user_write_tells_when_the_hash_queue_is_full,
          user_write_tells_when_there_are_too_many_users, user_write_tells_when_the_user_is_gone)
