#include "service_fixture.h"

/*
 * The client goes away in every state that a change can be in. Afterwards nobody holds the call,
 * its names are free or the change is stored, and the service can be freed: the sanitizers see what
 * is left.
 */

static void check_free(struct service_fixture *fixture, const char *username, const char *email)
{
    char id[37];

    make_user(fixture, username, email, id);
}

/* While the password waits for a thread: nothing is hashed, nothing is created. */
START_TEST(service_forgets_a_create_that_waits_for_its_hash)
{
    static struct service_fixture fixture;
    static struct fake_call call;

    service_start(&fixture);
    send_create(&fixture, &call, "anna", "a@x", "");
    fake_call_cancel(&call);
    ck_assert_uint_eq(call.call.holds, 1); /* until the job has come back */
    fake_pool_run();
    ck_assert_uint_eq(fake_pool.works_run, 0);
    ck_assert(list_is_empty(&fixture.log.submitted));
    ck_assert(!call.answered);
    fake_call_deinit(&call);
    check_free(&fixture, "anna", "a@x");
    service_finish(&fixture);
}

END_TEST

/* While the password is being hashed: the hash is thrown away. */
START_TEST(service_forgets_a_create_that_is_being_hashed)
{
    static struct service_fixture fixture;
    static struct fake_call call;

    service_start(&fixture);
    send_create(&fixture, &call, "anna", "a@x", "");
    fake_pool_work_first();
    fake_call_cancel(&call);
    fake_pool_run();
    ck_assert(list_is_empty(&fixture.log.submitted));
    fake_call_deinit(&call);
    check_free(&fixture, "anna", "a@x");
    service_finish(&fixture);
}

END_TEST

/* The names of a create that nobody waits for are free at once, while its hash is still being made:
 * who tries again is not told that the user exists. */
START_TEST(service_frees_the_names_of_a_cancelled_create_at_once)
{
    static struct service_fixture fixture;
    static struct fake_call first;
    static struct fake_call second;
    static struct fake_call third;

    service_start(&fixture);
    send_create(&fixture, &first, "anna", "a@x", "r-1");
    send_create(&fixture, &second, "anna", "a@x", "r-1"); /* waits behind the first */
    fake_pool_work_first();
    fake_call_cancel(&first);
    send_create(&fixture, &third, "anna", "a@x", "r-1");
    service_settle(&fixture);
    ck_assert(!first.answered);
    ck_assert(bytes_equal(reply_user_of(&second).id, reply_user_of(&third).id));
    ck_assert_uint_eq(user_service_user_count(fixture.service), 1);
    fake_call_deinit(&first);
    fake_call_deinit(&second);
    send_create(&fixture, &second, "berta", "b@x", "");
    fake_pool_work_first();
    fake_call_cancel(&second);
    fake_call_deinit(&third);
    send_create(&fixture, &third, "berta", "b@x", "");
    ck_assert(!third.answered);
    service_settle(&fixture);
    ck_assert_int_eq(third.status, GRPC_STATUS_OK);
    fake_call_deinit(&second);
    fake_call_deinit(&third);
    service_finish(&fixture);
}

END_TEST

/* After the log has it: the user is created, only the answer is dropped. */
START_TEST(service_keeps_a_create_that_was_submitted)
{
    static struct service_fixture fixture;
    static struct fake_call call;

    service_start(&fixture);
    send_create(&fixture, &call, "anna", "a@x", "");
    fake_pool_run();
    fake_call_cancel(&call);
    fake_log_settle_all(&fixture.log);
    ck_assert_int_eq(call.answer_count, 1);
    ck_assert(!call.answered);
    ck_assert_uint_eq(user_service_user_count(fixture.service), 1);
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

/* After the log has it, and the log fails: the names stay reserved, and go with the service. */
START_TEST(service_outlives_a_create_of_unknown_outcome)
{
    static struct service_fixture fixture;
    static struct fake_call call;

    service_start(&fixture);
    send_create(&fixture, &call, "anna", "a@x", "r-1");
    fake_pool_run();
    fake_call_cancel(&call);
    ck_assert(fake_log_settle(&fixture.log, COMMIT_UNKNOWN));
    fake_call_deinit(&call);
    send_create(&fixture, &call, "anna", "a@x", "");
    ck_assert_int_eq(call.status, GRPC_STATUS_ALREADY_EXISTS);
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

/* Waiting behind another change of the user: that one goes on, this one never happens. */
START_TEST(service_forgets_an_update_that_waits)
{
    static struct service_fixture fixture;
    static struct fake_call first;
    static struct fake_call second;
    static struct fake_call third;
    char id[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "a@x", id);
    send_rename(&fixture, &first, id, "berta");
    send_rename(&fixture, &second, id, "carl");
    send_rename(&fixture, &third, id, "dora");
    fake_call_cancel(&second);
    ck_assert_uint_eq(second.call.holds, 1);
    service_settle(&fixture);
    ck_assert_uint_eq(fixture.log.record_count, 3);
    ck_assert_int_eq(first.status, GRPC_STATUS_OK);
    ck_assert(!second.answered);
    ck_assert(bytes_equal(reply_user_of(&third).username, BYTES_LITERAL("dora")));
    fake_call_deinit(&first);
    fake_call_deinit(&second);
    fake_call_deinit(&third);
    check_free(&fixture, "carl", "c@x");
    service_finish(&fixture);
}

END_TEST

/* The one waited for goes away before it was submitted: the next one steps in. */
START_TEST(service_serves_who_waits_behind_a_cancelled_create)
{
    static struct service_fixture fixture;
    static struct fake_call first;
    static struct fake_call second;

    service_start(&fixture);
    send_create(&fixture, &first, "anna", "a@x", "r-1");
    send_create(&fixture, &second, "anna", "a@x", "r-1");
    fake_call_cancel(&first);
    service_settle(&fixture);
    ck_assert(!first.answered);
    ck_assert_int_eq(second.status, GRPC_STATUS_OK);
    ck_assert_uint_eq(user_service_user_count(fixture.service), 1);
    fake_call_deinit(&first);
    fake_call_deinit(&second);
    service_finish(&fixture);
}

END_TEST

/* Update and delete after the log has them: the change stays. */
START_TEST(service_keeps_changes_that_were_submitted)
{
    static struct service_fixture fixture;
    static struct fake_call rename;
    static struct fake_call remove_call;
    char anna[37];
    char berta[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "a@x", anna);
    make_user(&fixture, "berta", "b@x", berta);
    send_rename(&fixture, &rename, anna, "carl");
    send_delete(&fixture, &remove_call, berta);
    fake_call_cancel(&rename);
    fake_call_cancel(&remove_call);
    service_settle(&fixture);
    fake_call_deinit(&rename);
    fake_call_deinit(&remove_call);
    ck_assert_uint_eq(user_service_user_count(fixture.service), 1);
    check_free(&fixture, "berta", "b@x");
    check_free(&fixture, "anna", "d@x");
    service_finish(&fixture);
}

END_TEST

/* An answered call that is closed later is nothing to the service. */
START_TEST(service_lets_go_of_answered_calls)
{
    static struct service_fixture fixture;
    static struct fake_call call;

    service_start(&fixture);
    send_create(&fixture, &call, "anna", "a@x", "");
    service_settle(&fixture);
    ck_assert_uint_eq(call.call.holds, 0);
    fake_call_cancel(&call);
    ck_assert_int_eq(call.answer_count, 1);
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

/* The log refuses a change while its client has gone: the names are free. */
START_TEST(service_forgets_a_refused_change_without_client)
{
    static struct service_fixture fixture;
    static struct fake_call call;

    service_start(&fixture);
    send_create(&fixture, &call, "anna", "a@x", "");
    fake_pool_run();
    fake_call_cancel(&call);
    ck_assert(fake_log_settle(&fixture.log, COMMIT_NO_SPACE));
    fake_call_deinit(&call);
    check_free(&fixture, "anna", "a@x");
    service_finish(&fixture);
}

END_TEST

/* The log closes while a password is being hashed: the create is refused, nothing is submitted to a
 * log that is gone. */
START_TEST(service_refuses_what_comes_after_the_log)
{
    static struct service_fixture fixture;
    static struct fake_call call;

    service_start(&fixture);
    send_create(&fixture, &call, "anna", "a@x", "");
    fixture.log.callbacks->state(fixture.log.context, COMMIT_LOG_CLOSED, "");
    fake_pool_run();
    ck_assert(list_is_empty(&fixture.log.submitted));
    ck_assert_int_eq(call.status, GRPC_STATUS_UNAVAILABLE);
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

/* A service that never started, and none at all, can be freed. */
START_TEST(service_frees_when_unused)
{
    static struct service_fixture fixture;
    struct user_service *service;

    service_start(&fixture);
    ck_assert_int_eq(user_service_new(&fixture.reactor, &fixture.random.source, NULL,
                                      &fixture.options, &service),
                     0);
    user_service_free(service);
    user_service_free(NULL);
    service_finish(&fixture);
}

END_TEST

UNIT_MAIN("lifetime_service", service_forgets_a_create_that_waits_for_its_hash,
          service_forgets_a_create_that_is_being_hashed,
          service_frees_the_names_of_a_cancelled_create_at_once,
          service_keeps_a_create_that_was_submitted, service_outlives_a_create_of_unknown_outcome,
          service_forgets_an_update_that_waits, service_serves_who_waits_behind_a_cancelled_create,
          service_keeps_changes_that_were_submitted, service_lets_go_of_answered_calls,
          service_forgets_a_refused_change_without_client, service_refuses_what_comes_after_the_log,
          service_frees_when_unused)
