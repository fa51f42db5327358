/* Writes that meet: of one user, or with one request_id. */
#include "write_fixture.h"

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

UNIT_MAIN("user_write_turns", user_write_queues_changes_of_one_user,
          user_write_survives_the_failure_before_it, user_write_finds_nothing_behind_a_delete,
          user_write_checks_etags, user_write_limits_the_queue, user_write_repeats_the_first_answer,
          user_write_waits_for_the_first_answer, user_write_steps_in_for_a_failed_first)
