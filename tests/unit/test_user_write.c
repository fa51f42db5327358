/* One write by itself; those that wait for each other are in test_user_write_turns.c. */
#include "write_fixture.h"

#include <stdio.h>

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
        {COMMIT_TOO_LARGE, USER_WRITE_TOO_LARGE}, {COMMIT_SLOW, USER_WRITE_LOG_SLOW},
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
          user_write_times_never_go_back, user_write_updates_check_names,
          user_write_tells_when_the_hash_queue_is_full,
          user_write_tells_when_there_are_too_many_users, user_write_tells_when_the_user_is_gone)
