#include "service_fixture.h"

#include <users/v1/users.pb-c.h>

static bool is_text(struct bytes bytes, const char *text)
{
    return bytes_equal(bytes, bytes_from_text(text));
}

static void check_failed(const struct fake_call *call, enum grpc_status status, const char *message)
{
    ck_assert(call->answered);
    ck_assert_int_eq(call->answer_count, 1);
    ck_assert_int_eq(call->status, status);
    ck_assert_str_eq(call->message, message);
}

/* What CreateUser answered is what GetUser answers, byte for byte, and protobuf-c reads it. */
START_TEST(user_unary_creates_and_gets)
{
    static struct service_fixture fixture;
    static struct fake_call create;
    static struct fake_call get;
    Users__V1__GetUserResponse *response;
    char id[37];

    service_start(&fixture);
    send_create(&fixture, &create, " Anna ", "\tAnna@x.org\n", "");
    ck_assert_uint_eq(create.call.holds, 1);
    ck_assert(!create.answered);
    service_settle(&fixture);
    (void)snprintf(id, sizeof(id), "%.36s", (const char *)reply_user_of(&create).id.data);
    send_get(&fixture, &get, id);
    ck_assert(bytes_equal(buf_bytes(&get.reply), buf_bytes(&create.reply)));
    response = users__v1__get_user_response__unpack(NULL, buf_size(&get.reply),
                                                    buf_bytes(&get.reply).data);
    ck_assert_ptr_nonnull(response);
    ck_assert_str_eq(response->user->id, id);
    ck_assert_str_eq(response->user->username, "Anna");
    ck_assert_str_eq(response->user->email, "Anna@x.org");
    ck_assert_int_eq(response->user->created_at, NOW_MS);
    ck_assert_int_eq(response->user->updated_at, NOW_MS);
    ck_assert_int_eq((int)response->user->status, USER_STATUS_ACTIVE);
    ck_assert_uint_eq(response->user->n_roles, 0);
    ck_assert_int_eq(response->user->etag[0], '"');
    users__v1__get_user_response__free_unpacked(response, NULL);
    ck_assert_uint_eq(user_service_user_count(fixture.service), 1);
    fake_call_deinit(&create);
    fake_call_deinit(&get);
    service_finish(&fixture);
}

END_TEST

/* The statuses of GetUser: no id, an id too long, an unknown one, no protobuf. */
START_TEST(user_unary_get_fails)
{
    static struct service_fixture fixture;
    static struct fake_call call;
    char long_id[66];

    memset(long_id, 'x', sizeof(long_id));
    long_id[65] = '\0';
    service_start(&fixture);
    fake_call_init(&call);
    service_call(&fixture, GET_USER, &call, (struct bytes){0});
    check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "Missing required fields");
    ck_assert_str_eq(call.fields, "id: must not be empty; ");
    send_get(&fixture, &call, long_id);
    check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "Invalid user fields");
    send_get(&fixture, &call, long_id + 1);
    ck_assert_int_eq(call.status, GRPC_STATUS_NOT_FOUND);
    send_get(&fixture, &call, "no such");
    check_failed(&call, GRPC_STATUS_NOT_FOUND, "User no such not found");
    ck_assert_str_eq(call.reason, "USER_NOT_FOUND");
    ck_assert_str_eq(call.metadata, "id=no such; ");
    ck_assert_str_eq(call.resource, "users.v1.User:no such");
    fake_call_init(&call);
    service_call(&fixture, GET_USER, &call, BYTES_LITERAL("\x0a\xff"));
    check_failed(&call, GRPC_STATUS_INTERNAL, "Malformed request message");
    service_finish(&fixture);
}

END_TEST

/* Every method answers what is no protobuf with INTERNAL, and too many fields with
 * INVALID_ARGUMENT. */
START_TEST(user_unary_refuses_bad_messages)
{
    static struct service_fixture fixture;
    static struct fake_call call;

    service_start(&fixture);
    for (unsigned method = GET_USER; method <= DELETE_USER; method++) {
        struct buf request = {0};

        fake_call_init(&call);
        service_call(&fixture, method, &call, BYTES_LITERAL("garbage"));
        check_failed(&call, GRPC_STATUS_INTERNAL, "Malformed request message");
        fake_call_deinit(&call);
        for (unsigned i = 0; i < 101; i++) {
            add_text(&request, 1, "x");
        }
        send_request(&fixture, method, &call, &request);
        ck_assert_int_eq(call.status, GRPC_STATUS_INVALID_ARGUMENT);
        ck_assert_str_eq(call.reason, "TOO_MANY_FIELDS");
        fake_call_deinit(&call);
        fake_call_init(&call);
        service_call(&fixture, method, &call, (struct bytes){(const uint8_t *)"\x0a\x02x", 4});
        ck_assert_str_eq(call.reason, "NUL_IN_TEXT");
        ck_assert_ptr_nonnull(strstr(call.fields, method == CREATE_USER
                                                      ? "username: must not have U+0000; "
                                                      : "id: must not have U+0000; "));
        fake_call_deinit(&call);
    }
    service_finish(&fixture);
}

END_TEST

/* All bad fields of a CreateUser are named at once; missing ones give the text of the guide. */
START_TEST(user_unary_create_names_bad_fields)
{
    static struct service_fixture fixture;
    static struct fake_call call;
    struct buf request = {0};

    service_start(&fixture);
    fake_call_init(&call);
    service_call(&fixture, CREATE_USER, &call, (struct bytes){0});
    check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "Missing required fields");
    ck_assert_str_eq(call.fields, "username: must not be empty; email: must not be empty; "
                                  "password: must not be empty; ");
    add_text(&request, 1, "  ");
    add_text(&request, 2, "nobody");
    add_text(&request, 3, "short");
    send_request(&fixture, CREATE_USER, &call, &request);
    check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "Missing required fields");
    ck_assert_ptr_nonnull(strstr(call.fields, "username: must not be empty; email: must have"));
    ck_assert_ptr_nonnull(strstr(call.fields, "password: must have at least 8 characters; "));
    send_create(&fixture, &call, "anna", "nobody", "");
    check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "Invalid user fields");
    ck_assert_uint_eq(call.call.holds, 0);
    service_finish(&fixture);
}

END_TEST

/* A taken name: ALREADY_EXISTS with the resource named. */
START_TEST(user_unary_create_names_what_is_taken)
{
    static struct service_fixture fixture;
    static struct fake_call call;
    char id[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "anna@x.org", id);
    send_create(&fixture, &call, "ANNA", "other@x.org", "");
    check_failed(&call, GRPC_STATUS_ALREADY_EXISTS, "User already exists");
    ck_assert_str_eq(call.resource, "users.v1.User:username/ANNA");
    ck_assert_str_eq(call.metadata, "field=username; value=ANNA; ");
    fake_call_deinit(&call);
    send_create(&fixture, &call, "berta", "Anna@X.org", "");
    ck_assert_str_eq(call.resource, "users.v1.User:email/Anna@X.org");
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

/* A full hash queue: RESOURCE_EXHAUSTED with RetryInfo. */
START_TEST(user_unary_create_is_limited)
{
    static struct service_fixture fixture;
    static struct fake_call first;
    static struct fake_call second;

    service_start(&fixture);
    fake_pool_init(1);
    send_create(&fixture, &first, "anna", "a@x", "");
    send_create(&fixture, &second, "berta", "b@x", "");
    ck_assert_int_eq(second.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
    ck_assert_str_eq(second.reason, "HASH_QUEUE_FULL");
    ck_assert_uint_eq(fake_call_hits(&second, LIMITS_HIT_HASH_QUEUE), 1);
    ck_assert_int_gt(second.retry_ms, 0);
    service_settle(&fixture);
    ck_assert_int_eq(first.status, GRPC_STATUS_OK);
    fake_call_deinit(&first);
    fake_call_deinit(&second);
    service_finish(&fixture);
}

END_TEST

/* What the log says reaches the client as the status of design. */
START_TEST(user_unary_translates_the_log)
{
    static const struct {
        enum commit_outcome outcome;
        enum grpc_status status;
    } rows[] = {
        {COMMIT_FULL, GRPC_STATUS_UNAVAILABLE},
        {COMMIT_SLOW, GRPC_STATUS_UNAVAILABLE},
        {COMMIT_NO_SPACE, GRPC_STATUS_RESOURCE_EXHAUSTED},
        {COMMIT_NOT_SENT, GRPC_STATUS_UNAVAILABLE},
        {COMMIT_TOO_LARGE, GRPC_STATUS_INVALID_ARGUMENT},
        {COMMIT_CONFLICT, GRPC_STATUS_ABORTED},
        {COMMIT_UNKNOWN, GRPC_STATUS_UNKNOWN},
    };
    static struct service_fixture fixture;
    static struct fake_call call;

    service_start(&fixture);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        send_create(&fixture, &call, "anna", "a@x", "");
        fake_pool_run();
        ck_assert(fake_log_settle(&fixture.log, rows[i].outcome));
        ck_assert_int_eq(call.status, rows[i].status);
        ck_assert_int_eq(call.answer_count, 1);
        fake_call_deinit(&call);
    }
    ck_assert_str_eq(call.message, "commit outcome unknown");
    service_finish(&fixture);
}

END_TEST

/* Without a mask the fields that are set are taken; the whole user is answered. */
START_TEST(user_unary_updates_populated_fields)
{
    static struct service_fixture fixture;
    static struct fake_call call;
    struct buf request = {0};
    struct buf user = {0};
    struct buf profile = {0};
    struct user after;
    char id[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "a@x", id);
    fixture.clock.now_ms += 7;
    add_text(&profile, 1, "Anna");
    add_text(&user, 1, "another id");
    add_text(&user, 3, " New@x ");
    ck_assert_int_eq(proto_wire_append_varint(&user, 4, 1), 0);
    add_text(&user, 5, "admin");
    add_message(&user, 7, &profile);
    ck_assert_int_eq(proto_wire_append_varint(&user, 8, 1), 0);
    add_text(&request, 1, id);
    add_message(&request, 2, &user);
    send_request(&fixture, UPDATE_USER, &call, &request);
    service_settle(&fixture);
    after = reply_user_of(&call);
    ck_assert(is_text(after.id, id));
    ck_assert(is_text(after.username, "anna"));
    ck_assert(is_text(after.email, "New@x"));
    ck_assert_int_eq(after.created_at, NOW_MS);
    ck_assert_int_eq(after.updated_at, NOW_MS + 7);
    ck_assert_uint_eq(after.role_count, 1);
    ck_assert(is_text(after.first_name, "Anna"));
    ck_assert_int_eq(after.status, USER_STATUS_ACTIVE);
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

static void send_masked(struct service_fixture *fixture, struct fake_call *call, const char *id,
                        struct buf *user, const char *path)
{
    struct buf request = {0};
    struct buf mask = {0};

    add_text(&mask, 1, path);
    add_text(&request, 1, id);
    add_message(&request, 2, user);
    add_message(&request, 3, &mask);
    send_request(fixture, UPDATE_USER, call, &request);
}

/* A mask takes what it names, empty values too, and nothing else. */
START_TEST(user_unary_updates_by_mask)
{
    static struct service_fixture fixture;
    static struct fake_call call;
    struct buf user = {0};
    char id[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "a@x", id);
    add_text(&user, 2, "berta");
    add_text(&user, 5, "admin");
    send_masked(&fixture, &call, id, &user, "roles");
    service_settle(&fixture);
    ck_assert(is_text(reply_user_of(&call).username, "anna"));
    ck_assert_uint_eq(reply_user_of(&call).role_count, 1);
    fake_call_deinit(&call);
    add_text(&user, 2, "berta");
    send_masked(&fixture, &call, id, &user, "roles");
    service_settle(&fixture);
    ck_assert(is_text(reply_user_of(&call).username, "anna"));
    ck_assert_uint_eq(reply_user_of(&call).role_count, 0);
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

/* What UpdateUser refuses, with the field named. */
START_TEST(user_unary_refuses_bad_updates)
{
    static const struct {
        const char *path;
        const char *fields;
        const char *message;
    } rows[] = {
        {"password", "update_mask: must not name `password`, which is no field that may be set; ",
         "Invalid update mask"},
        {"roles.0", "update_mask: must not name `roles.0`, which is no field that may be set; ",
         "Invalid update mask"},
        {"username", "user.username: must not be empty; ", "Missing required fields"},
        {"status", "user.status: must be ACTIVE, INACTIVE or SUSPENDED; ", "Invalid user fields"},
        {"*", "user.username: must not be empty; user.email: must not be empty; ",
         "Missing required fields"},
    };
    static struct service_fixture fixture;
    static struct fake_call call;
    struct buf request = {0};
    char id[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "a@x", id);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf user = {0};

        send_masked(&fixture, &call, id, &user, rows[i].path);
        check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, rows[i].message);
        ck_assert_str_eq(call.fields, rows[i].fields);
        fake_call_deinit(&call);
    }
    send_request(&fixture, UPDATE_USER, &call, &request);
    check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "Missing required fields");
    ck_assert_str_eq(call.fields, "id: must not be empty; ");
    fake_call_deinit(&call);
    send_rename(&fixture, &call, "no such", "berta");
    check_failed(&call, GRPC_STATUS_NOT_FOUND, "User no such not found");
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

/* A name of blanks alone is set, and is refused as empty: it is not taken for one that was left
 * out.
 */
START_TEST(user_unary_refuses_blank_names)
{
    static struct service_fixture fixture;
    static struct fake_call call;
    struct buf request = {0};
    struct buf user = {0};
    char id[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "a@x", id);
    add_text(&user, 2, " ");
    add_text(&user, 3, "\t");
    add_text(&request, 1, id);
    add_message(&request, 2, &user);
    send_request(&fixture, UPDATE_USER, &call, &request);
    check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "Missing required fields");
    ck_assert_str_eq(call.fields,
                     "user.username: must not be empty; user.email: must not be empty; ");
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

/* Output-only paths are ignored: such an update changes nothing and answers the user. */
START_TEST(user_unary_ignores_output_only_paths)
{
    static struct service_fixture fixture;
    static struct fake_call call;
    struct buf user = {0};
    char id[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "a@x", id);
    add_text(&user, 1, "other");
    send_masked(&fixture, &call, id, &user, "id");
    ck_assert(is_text(reply_user_of(&call).id, id));
    ck_assert_uint_eq(fixture.log.record_count, 1);
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

/* A stale etag aborts update and delete. */
START_TEST(user_unary_checks_etags)
{
    static struct service_fixture fixture;
    static struct fake_call call;
    struct buf request = {0};
    struct buf user = {0};
    char id[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "a@x", id);
    add_text(&user, 2, "berta");
    add_text(&user, 9, "\"77\"");
    add_text(&request, 1, id);
    add_message(&request, 2, &user);
    send_request(&fixture, UPDATE_USER, &call, &request);
    ck_assert_int_eq(call.status, GRPC_STATUS_ABORTED);
    ck_assert_str_eq(call.precondition, "ETAG");
    fake_call_deinit(&call);
    add_text(&request, 1, id);
    add_text(&request, 2, "\"77\"");
    send_request(&fixture, DELETE_USER, &call, &request);
    ck_assert_int_eq(call.status, GRPC_STATUS_ABORTED);
    fake_call_deinit(&call);
    add_text(&request, 1, id);
    add_text(&request, 2, "\"1\"");
    send_request(&fixture, DELETE_USER, &call, &request);
    service_settle(&fixture);
    ck_assert_int_eq(call.status, GRPC_STATUS_OK);
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

/* DeleteUser answers success = true once, NOT_FOUND afterwards. */
START_TEST(user_unary_deletes)
{
    static struct service_fixture fixture;
    static struct fake_call call;
    Users__V1__DeleteUserResponse *response;
    char id[37];

    service_start(&fixture);
    make_user(&fixture, "anna", "a@x", id);
    send_delete(&fixture, &call, id);
    service_settle(&fixture);
    response = users__v1__delete_user_response__unpack(NULL, buf_size(&call.reply),
                                                       buf_bytes(&call.reply).data);
    ck_assert_ptr_nonnull(response);
    ck_assert(response->success);
    users__v1__delete_user_response__free_unpacked(response, NULL);
    fake_call_deinit(&call);
    send_delete(&fixture, &call, id);
    ck_assert_int_eq(call.status, GRPC_STATUS_NOT_FOUND);
    fake_call_deinit(&call);
    send_get(&fixture, &call, id);
    ck_assert_int_eq(call.status, GRPC_STATUS_NOT_FOUND);
    ck_assert_uint_eq(user_service_user_count(fixture.service), 0);
    service_finish(&fixture);
}

END_TEST

UNIT_MAIN("user_unary", user_unary_creates_and_gets, user_unary_get_fails,
          user_unary_refuses_bad_messages, user_unary_create_names_bad_fields,
          user_unary_create_names_what_is_taken, user_unary_create_is_limited,
          user_unary_translates_the_log, user_unary_updates_populated_fields,
          user_unary_updates_by_mask, user_unary_refuses_bad_updates,
          user_unary_refuses_blank_names, user_unary_ignores_output_only_paths,
          user_unary_checks_etags, user_unary_deletes)
