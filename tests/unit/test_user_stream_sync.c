#include "stream_fixture.h"

/* What SyncUsers does to a user; how a stream goes is in test_user_stream.c. */

/* A new user of a sync has the id asked for, or one of ours; status ACTIVE, times and a place in
 * the order; and no password. */
START_TEST(user_stream_syncs_new_users)
{
    static struct stream_fixture fixture;
    static struct fake_call call;
    const struct user_entry *entry;
    struct user user;

    stream_start(&fixture);
    open_sync(&fixture, &call);
    send_user(&call, "x.1~_-", "Anna");
    send_user(&call, "", "berta");
    settle(&fixture);
    user = synced_user(&call, 0);
    ck_assert(is_text(user.id, "x.1~_-"));
    ck_assert(is_text(user.username, "Anna"));
    ck_assert_int_eq(user.status, USER_STATUS_ACTIVE);
    ck_assert_int_eq(user.created_at, NOW_MS);
    ck_assert_int_eq(user.updated_at, NOW_MS);
    entry = user_store_find(fixture.writer.store, user.id);
    ck_assert_uint_eq(user_entry_password_hash(entry).size, 0);
    ck_assert_uint_eq(user_entry_sequence(entry), 1);
    user = synced_user(&call, 1);
    ck_assert_uint_eq(user.id.size, 36);
    entry = user_store_find(fixture.writer.store, user.id);
    ck_assert_uint_eq(user_entry_sequence(entry), 2);
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* A known user is replaced in full, but for what only the server sets, and a status that is not
 * said. */
START_TEST(user_stream_syncs_known_users)
{
    static struct stream_fixture fixture;
    static struct fake_call batch;
    static struct fake_call call;
    const struct user_entry *entry;
    struct buf message = {0};
    struct buf profile = {0};
    struct user user;
    char id[37];

    stream_start(&fixture);
    open_batch(&fixture, &batch);
    send_create_as(&batch, "anna", "r-1");
    settle(&fixture);
    (void)snprintf(id, sizeof(id), "%.36s", (const char *)created_user(&batch, 0).id.data);
    end_well(&fixture, &batch);
    fixture.clock.now_ms += 5;
    open_sync(&fixture, &call);
    add_text(&message, 1, id);
    add_text(&message, 2, "berta");
    add_text(&message, 3, "b@x");
    ck_assert_int_eq(proto_wire_append_varint(&message, 4, 77), 0); /* created_at: ours */
    add_text(&message, 5, "admin");
    ck_assert_int_eq(proto_wire_append_varint(&message, 6, USER_STATUS_SUSPENDED), 0);
    add_text(&profile, 1, "Berta");
    ck_assert_int_eq(proto_wire_append_bytes(&message, 7, buf_bytes(&profile)), 0);
    buf_deinit(&profile);
    send_message(&call, &message);
    send_user(&call, id, "berta"); /* no roles, no profile, no status */
    settle(&fixture);
    user = synced_user(&call, 0);
    ck_assert(is_text(user.username, "berta"));
    ck_assert(is_text(user.roles[0], "admin"));
    ck_assert(is_text(user.first_name, "Berta"));
    ck_assert_int_eq(user.status, USER_STATUS_SUSPENDED);
    ck_assert_int_eq(user.created_at, NOW_MS);
    ck_assert_int_eq(user.updated_at, NOW_MS + 5);
    user = synced_user(&call, 1);
    ck_assert_uint_eq(user.role_count, 0);
    ck_assert_uint_eq(user.first_name.size, 0);
    ck_assert_int_eq(user.status, USER_STATUS_SUSPENDED);
    ck_assert_int_eq(user.created_at, NOW_MS);
    entry = user_store_find(fixture.writer.store, bytes_from_text(id));
    ck_assert_uint_eq(user_entry_sequence(entry), 1);
    ck_assert(is_text(user_entry_request_id(entry), "r-1"));
    ck_assert_mem_eq(user_entry_password_hash(entry).data, "$argon2id$", 10);
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* What is the same already is answered without a record, in its place among the others. */
START_TEST(user_stream_logs_no_sync_that_changes_nothing)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    settle(&fixture);
    send_user(&call, "b", "berta");
    send_user(&call, "a", "anna");
    send_user(&call, "c", "carl");
    turn(&fixture);
    ck_assert_uint_eq(submitted_count(&fixture), 2);
    ck_assert_uint_eq(call.sent_count, 1);
    settle(&fixture);
    ck_assert_uint_eq(fixture.log.record_count, 3);
    ck_assert(is_text(synced_user(&call, 1).username, "berta"));
    ck_assert(bytes_equal(fake_call_sent(&call, 2), fake_call_sent(&call, 0)));
    ck_assert(is_text(synced_user(&call, 3).username, "carl"));
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* An etag must be the present one; a user that does not exist has none. */
START_TEST(user_stream_checks_etags_of_a_sync)
{
    static const struct {
        const char *id;
        const char *etag;
        bool is_fine;
    } rows[] = {{"a", "\"1\"", true}, {"a", "\"77\"", false}, {"z", "\"1\"", false}};
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    end_well(&fixture, &call);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        open_sync(&fixture, &call);
        send_user_as(&call, rows[i].id, "berta", rows[i].etag);
        settle(&fixture);
        if (rows[i].is_fine) {
            end_well(&fixture, &call);
        } else {
            check_failed(&call, GRPC_STATUS_ABORTED, "ETAG_MISMATCH", "index=0; ");
            fake_call_deinit(&call);
        }
    }
    stream_finish(&fixture);
}

END_TEST

/* Names are unique in a sync too, and its fields are judged. */
START_TEST(user_stream_judges_a_sync)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    send_user(&call, "b", "ANNA");
    settle(&fixture);
    check_failed(&call, GRPC_STATUS_ALREADY_EXISTS, "USER_ALREADY_EXISTS", "index=1; ");
    ck_assert_str_eq(call.resource, "users.v1.User:username/ANNA");
    fake_call_deinit(&call);
    open_sync(&fixture, &call);
    send_user(&call, "not an id", "berta");
    settle(&fixture);
    check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_FIELDS", "index=0; ");
    fake_call_deinit(&call);
    stream_finish(&fixture);
}

END_TEST

UNIT_MAIN("user_stream_sync", user_stream_syncs_new_users, user_stream_syncs_known_users,
          user_stream_logs_no_sync_that_changes_nothing, user_stream_checks_etags_of_a_sync,
          user_stream_judges_a_sync)
