#include "service_fixture.h"

#include <errno.h>

static bool is_text(struct bytes bytes, const char *text)
{
    return bytes_equal(bytes, bytes_from_text(text));
}

/* The eight methods stand in the order of the proto, with their kinds, and all are served. */
START_TEST(user_service_has_its_methods)
{
    static const struct {
        const char *path;
        enum grpc_method_kind kind;
    } rows[USER_SERVICE_METHOD_COUNT] = {
        {"/users.v1.UserService/GetUser", GRPC_METHOD_UNARY},
        {"/users.v1.UserService/CreateUser", GRPC_METHOD_UNARY},
        {"/users.v1.UserService/UpdateUser", GRPC_METHOD_UNARY},
        {"/users.v1.UserService/DeleteUser", GRPC_METHOD_UNARY},
        {"/users.v1.UserService/ListUsers", GRPC_METHOD_UNARY},
        {"/users.v1.UserService/WatchUser", GRPC_METHOD_SERVER_STREAM},
        {"/users.v1.UserService/BatchCreateUsers", GRPC_METHOD_BIDI_STREAM},
        {"/users.v1.UserService/SyncUsers", GRPC_METHOD_BIDI_STREAM},
    };
    static struct service_fixture fixture;

    service_start(&fixture);
    for (unsigned i = 0; i < USER_SERVICE_METHOD_COUNT; i++) {
        ck_assert_str_eq(fixture.methods[i].path, rows[i].path);
        ck_assert_int_eq(fixture.methods[i].kind, rows[i].kind);
        ck_assert_int_eq(fixture.methods[i].handler != NULL, i <= WATCH_USER);
        ck_assert_int_eq(fixture.methods[i].open != NULL, i > WATCH_USER);
        ck_assert_ptr_nonnull(fixture.methods[i].service);
        ck_assert_int_eq(fixture.methods[i].secret, i == CREATE_USER || i == BATCH_CREATE_USERS);
    }
    service_finish(&fixture);
}

END_TEST

/* After a restart everything is as it was: users, request_ids, and etags that never repeat. */
START_TEST(user_service_survives_a_restart)
{
    static struct service_fixture fixture;
    static struct fake_call before;
    static struct fake_call after;
    struct user berta;
    char anna[37];
    char gone[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "a@x", anna);
    make_user(&fixture, "gone", "g@x", gone);
    send_create(&fixture, &before, "berta", "b@x", "r-1");
    service_settle(&fixture);
    send_delete(&fixture, &after, gone); /* the fourth change */
    service_settle(&fixture);
    fake_call_deinit(&after);
    ck_assert_int_eq(service_restart(&fixture), 0);
    ck_assert_int_eq(fixture.log_state, COMMIT_LOG_READY);
    ck_assert_uint_eq(user_service_user_count(fixture.service), 2);
    send_create(&fixture, &after, "berta", "b@x", "r-1");
    berta = reply_user_of(&after);
    ck_assert(bytes_equal(buf_bytes(&after.reply), buf_bytes(&before.reply)));
    ck_assert(is_text(berta.etag, "\"3\""));
    fake_call_deinit(&after);
    send_rename(&fixture, &after, anna, "anneke");
    service_settle(&fixture);
    ck_assert(is_text(reply_user_of(&after).etag, "\"5\""));
    fake_call_deinit(&after);
    send_create(&fixture, &after, "BERTA", "c@x", "");
    ck_assert_int_eq(after.status, GRPC_STATUS_ALREADY_EXISTS);
    fake_call_deinit(&before);
    fake_call_deinit(&after);
    service_finish(&fixture);
}

END_TEST

/* Records that contradict each other are damage, and the problem says which. */
START_TEST(user_service_refuses_a_log_that_does_not_fit)
{
    static struct service_fixture fixture;
    char id[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "a@x", id);
    fake_log_add(&fixture.log, USER_RECORD_PUT, BYTES_LITERAL("garbage"));
    ck_assert_int_eq(service_restart(&fixture), WAL_E_DAMAGED);
    ck_assert_ptr_nonnull(strstr(fixture.problem, "record 2"));
    service_finish(&fixture);
}

END_TEST

/* When the log has failed, changes are refused and reads go on. */
START_TEST(user_service_reads_on_when_the_log_failed)
{
    static struct service_fixture fixture;
    static struct fake_call call;
    char id[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "a@x", id);
    fixture.log.callbacks->state(fixture.log.context, COMMIT_LOG_FAILED, "test");
    ck_assert_int_eq(fixture.log_state, COMMIT_LOG_FAILED);
    send_create(&fixture, &call, "berta", "b@x", "");
    ck_assert_int_eq(call.status, GRPC_STATUS_UNAVAILABLE);
    fake_call_deinit(&call);
    send_rename(&fixture, &call, id, "carl");
    ck_assert_int_eq(call.status, GRPC_STATUS_UNAVAILABLE);
    fake_call_deinit(&call);
    send_get(&fixture, &call, id);
    ck_assert(is_text(reply_user_of(&call).username, "anna"));
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

/* The methods are those of the store: what a stream creates is listed and watched, and shutting
 * down ends the watch. */
START_TEST(user_service_connects_its_methods)
{
    static struct service_fixture fixture;
    static struct fake_call batch;
    static struct fake_call watch;
    static struct fake_call list;
    const struct grpc_method *row = &fixture.methods[BATCH_CREATE_USERS];
    struct grpc_call_host host = {.reactor = &fixture.reactor};
    struct buf message = {0};
    struct bytes reply;
    struct proto_wire_field field;
    char id[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "a@x", id);
    add_text(&message, 1, id);
    fake_call_init(&watch);
    watch.call.host = &host;
    service_call(&fixture, WATCH_USER, &watch, buf_bytes(&message));
    buf_deinit(&message);
    fake_call_init(&batch);
    row->open(row->service, &batch.call);
    add_text(&message, 1, "berta");
    add_text(&message, 2, "b@x");
    add_text(&message, 3, "correct horse");
    fake_call_message(&batch, buf_bytes(&message).data, buf_size(&message));
    buf_deinit(&message);
    fake_call_half_close(&batch);
    service_settle(&fixture);
    ck_assert_uint_eq(batch.sent_count, 1);
    ck_assert(batch.answered);
    ck_assert_uint_eq(user_service_streams(fixture.service)->items_done, 1);
    send_request(&fixture, LIST_USERS, &list, &message);
    service_settle(&fixture);
    ck_assert_int_eq(list.status, GRPC_STATUS_OK);
    reply = buf_bytes(&list.reply);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(proto_wire_read(&reply, &field), 0);
        ck_assert_uint_eq(field.number, 1);
    }
    ck_assert_uint_eq(user_lister_stats(user_service_lister(fixture.service))->by_walk, 1);
    fake_call_deinit(&batch);
    send_rename(&fixture, &batch, id, "carl");
    service_settle(&fixture);
    ck_assert_uint_eq(watch.sent_count, 2); /* as it was, and renamed */
    ck_assert_uint_eq(user_watch_stats(user_service_watch(fixture.service))->watchers, 1);
    user_service_end_watches(fixture.service);
    service_settle(&fixture);
    ck_assert_int_eq(watch.status, GRPC_STATUS_UNAVAILABLE);
    fake_call_deinit(&batch);
    fake_call_deinit(&watch);
    fake_call_deinit(&list);
    service_finish(&fixture);
}

END_TEST

static unsigned steps[3]; /* of checkpoints, by kind */

static void note_step(void *context, const struct wal_snapshot_report *report)
{
    (void)context;
    steps[report->step]++;
}

/* A snapshot holds all that a restart needs: users, request_ids, and how far counting went, also by
 * changes of users who are gone. */
START_TEST(user_service_survives_a_restart_from_a_snapshot)
{
    static struct service_fixture fixture;
    static struct fake_call before;
    static struct fake_call after;
    char anna[37];
    char gone[37];

    service_start(&fixture);
    user_service_watch_checkpoints(fixture.service, note_step, NULL);
    make_user(&fixture, "anna", "a@x", anna);
    make_user(&fixture, "gone", "g@x", gone);
    send_create(&fixture, &before, "berta", "b@x", "r-1");
    service_settle(&fixture);
    send_delete(&fixture, &after, gone); /* the fourth change */
    service_settle(&fixture);
    fake_call_deinit(&after);
    ck_assert_int_eq(user_service_checkpoint(fixture.service), 0);
    ck_assert_uint_eq(steps[WAL_SNAPSHOT_DONE], 1);
    ck_assert(!user_service_snapshot_stats(fixture.service)->is_running);
    ck_assert_uint_eq(fixture.log.record_count, 3); /* the counters and two users */
    ck_assert_uint_eq(fixture.log.callbacks->snapshot->count(fixture.log.context), 2);
    ck_assert_int_eq(service_restart(&fixture), 0);
    ck_assert_uint_eq(user_service_user_count(fixture.service), 2);
    send_create(&fixture, &after, "berta", "b@x", "r-1");
    ck_assert(bytes_equal(buf_bytes(&after.reply), buf_bytes(&before.reply)));
    fake_call_deinit(&after);
    send_rename(&fixture, &after, anna, "anneke");
    service_settle(&fixture);
    ck_assert(is_text(reply_user_of(&after).etag, "\"5\""));
    fake_call_deinit(&before);
    fake_call_deinit(&after);
    ck_assert_int_eq(service_restart(&fixture), 0); /* snapshot and log */
    send_get(&fixture, &after, anna);
    ck_assert(is_text(reply_user_of(&after).username, "anneke"));
    fake_call_deinit(&after);
    service_finish(&fixture);
}

END_TEST

/* A refused snapshot is told with its cause, and without a log there is none. */
START_TEST(user_service_tells_why_there_is_no_snapshot)
{
    static struct service_fixture fixture;

    service_start(&fixture);
    fixture.log.checkpoint_refusal = -EBUSY;
    ck_assert_int_eq(user_service_checkpoint(fixture.service), -EBUSY);
    fixture.log.checkpoint_refusal = 0;
    fixture.log.callbacks->state(fixture.log.context, COMMIT_LOG_FAILED, "test");
    ck_assert_int_eq(user_service_checkpoint(fixture.service), -EIO);
    service_finish(&fixture);
}

END_TEST

/* After a run that may have lost changes no number that it may have given is given again: neither
 * in this run nor, though nothing changed in it, in the next. */
START_TEST(user_service_leaves_out_numbers_that_may_be_known)
{
    static struct service_fixture fixture;
    static struct fake_call call;
    char id[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "a@x", id);
    fixture.log.may_have_lost = true;
    ck_assert_int_eq(service_restart(&fixture), 0);
    service_settle(&fixture);
    ck_assert_uint_eq(fixture.log.record_count, 2);
    ck_assert_uint_eq(fixture.log.records[1].type, USER_RECORD_COUNTERS);
    fixture.log.may_have_lost = false;
    ck_assert_int_eq(service_restart(&fixture), 0);
    send_rename(&fixture, &call, id, "anneke");
    service_settle(&fixture);
    ck_assert(is_text(reply_user_of(&call).etag, "\"1000002\"")); /* 1 + 2^24 + 1 */
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

/* Where the disk has no room for that, it is logged as soon as there is. */
START_TEST(user_service_leaves_out_numbers_when_there_is_room)
{
    static struct service_fixture fixture;

    service_start(&fixture);
    fixture.log.may_have_lost = true;
    ck_assert_int_eq(service_restart(&fixture), 0);
    ck_assert(fake_log_settle(&fixture.log, COMMIT_NO_SPACE));
    ck_assert(!fake_log_settle(&fixture.log, COMMIT_DONE));
    fixture.log.callbacks->state(fixture.log.context, COMMIT_LOG_READY, NULL);
    ck_assert(fake_log_settle(&fixture.log, COMMIT_DONE));
    fixture.log.callbacks->state(fixture.log.context, COMMIT_LOG_READY, NULL);
    ck_assert(!fake_log_settle(&fixture.log, COMMIT_DONE));
    service_finish(&fixture);
}

END_TEST

/* Sends one change of each kind and checks what their trailers say of durability. */
static void check_trailers(struct service_fixture *fixture, const char *expected)
{
    static struct fake_call call;
    char id[37];

    send_create(fixture, &call, "anna", "a@x", "");
    service_settle(fixture);
    (void)snprintf(id, sizeof(id), "%.36s", (const char *)reply_user_of(&call).id.data);
    ck_assert_str_eq(call.trailers, expected);
    fake_call_deinit(&call);
    send_rename(fixture, &call, id, "berta");
    service_settle(fixture);
    ck_assert_int_eq(call.status, GRPC_STATUS_OK);
    ck_assert_str_eq(call.trailers, expected);
    fake_call_deinit(&call);
    send_get(fixture, &call, id);
    ck_assert_str_eq(call.trailers, "");
    fake_call_deinit(&call);
    send_delete(fixture, &call, id);
    service_settle(fixture);
    ck_assert_int_eq(call.status, GRPC_STATUS_OK);
    ck_assert_str_eq(call.trailers, expected);
    fake_call_deinit(&call);
    for (unsigned method = BATCH_CREATE_USERS; method <= SYNC_USERS; method++) {
        fake_call_init(&call);
        fixture->methods[method].open(fixture->methods[method].service, &call.call);
        fake_call_half_close(&call);
        service_settle(fixture);
        ck_assert_int_eq(call.status, GRPC_STATUS_OK);
        ck_assert_str_eq(call.trailers, expected);
        fake_call_deinit(&call);
    }
}

/* With wal.sync = interval every answer to a change says what a power cut may take back of it; with
 * always there is nothing to say. */
START_TEST(user_service_says_what_may_be_lost)
{
    static struct service_fixture fixture;

    service_start(&fixture);
    check_trailers(&fixture, "");
    fixture.options.sync_interval_ms = 100;
    ck_assert_int_eq(service_restart(&fixture), 0);
    check_trailers(&fixture, "users-durability=interval=100ms; ");
    service_finish(&fixture);
}

END_TEST

static void on_progress(void *context, const struct wal_progress *progress)
{
    *(uint64_t *)context = progress->records;
}

/* Who asked hears how far a recovery is. */
START_TEST(user_service_tells_of_its_recovery)
{
    static struct service_fixture fixture;
    const struct wal_progress progress = {.records = 7};
    uint64_t told = 0;

    service_start(&fixture);
    fixture.log.callbacks->reset_progress(fixture.log.context, &progress); /* nobody asked */
    user_service_watch_recovery(fixture.service, on_progress, &told);
    fixture.log.callbacks->reset_progress(fixture.log.context, &progress);
    ck_assert_uint_eq(told, 7);
    service_finish(&fixture);
}

END_TEST

UNIT_MAIN("user_service", user_service_tells_of_its_recovery, user_service_has_its_methods,
          user_service_survives_a_restart, user_service_refuses_a_log_that_does_not_fit,
          user_service_reads_on_when_the_log_failed, user_service_connects_its_methods,
          user_service_survives_a_restart_from_a_snapshot,
          user_service_tells_why_there_is_no_snapshot,
          user_service_leaves_out_numbers_that_may_be_known,
          user_service_leaves_out_numbers_when_there_is_room, user_service_says_what_may_be_lost)
