#include "service_fixture.h"

/* Whatever is wrong with an update is told at once: every path that names nothing, the id, and the
 * fields that the rest of the mask names. */
START_TEST(user_unary_faults_are_told_at_once)
{
    static const char *const paths[] = {"nickname", "status", "roles.0", "username"};
    static struct service_fixture fixture;
    static struct fake_call call;
    struct buf request = {0};
    struct buf mask = {0};
    struct buf user = {0};

    service_start(&fixture);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        add_text(&mask, 1, paths[i]);
    }
    ck_assert_int_eq(proto_wire_append_bytes(&user, 2, BYTES_LITERAL("\0")), 0);
    add_message(&request, 2, &user);
    add_message(&request, 3, &mask);
    send_request(&fixture, UPDATE_USER, &call, &request);
    ck_assert_int_eq(call.status, GRPC_STATUS_INVALID_ARGUMENT);
    ck_assert_str_eq(call.reason, "NUL_IN_TEXT");
    ck_assert_str_eq(call.metadata, "path=nickname; ");
    ck_assert_str_eq(call.fields,
                     "user.username: must not have U+0000; id: must not be empty; update_mask: "
                     "must not name `nickname`, which is no field that may be set; update_mask: "
                     "must not name `roles.0`, which is no field that may be set; user.status: "
                     "must be ACTIVE, INACTIVE or SUSPENDED; ");
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

/* A path that is too long to be quoted is told all the same. */
START_TEST(user_unary_faults_quote_no_long_path)
{
    static struct service_fixture fixture;
    static struct fake_call call;
    struct buf request = {0};
    struct buf mask = {0};
    char longest[66] = "";

    service_start(&fixture);
    memset(longest, 'x', 64);
    add_text(&mask, 1, longest);
    longest[64] = 'y';
    add_text(&mask, 1, longest);
    add_text(&request, 1, "id-1");
    add_message(&request, 3, &mask);
    send_request(&fixture, UPDATE_USER, &call, &request);
    ck_assert_str_eq(call.reason, "INVALID_UPDATE_MASK");
    ck_assert_ptr_nonnull(strstr(call.fields, "xx`, which is no field that may be set; "
                                              "update_mask: must name fields of a user that "
                                              "may be set, or *; "));
    ck_assert_ptr_null(strstr(call.fields, "xy"));
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

/* More paths than the table of faults holds are refused like a few. */
START_TEST(user_unary_faults_are_limited)
{
    static struct service_fixture fixture;
    static struct fake_call call;
    struct buf request = {0};
    struct buf mask = {0};

    service_start(&fixture);
    for (unsigned i = 0; i < USER_FAULTS_MAX + 1; i++) {
        add_text(&mask, 1, i == 0 ? "first" : "x");
    }
    add_text(&request, 1, "id-1");
    add_message(&request, 3, &mask);
    send_request(&fixture, UPDATE_USER, &call, &request);
    ck_assert_str_eq(call.reason, "INVALID_UPDATE_MASK");
    ck_assert_str_eq(call.metadata, "path=first; ");
    fake_call_deinit(&call);
    service_finish(&fixture);
}

END_TEST

UNIT_MAIN("user_unary_faults", user_unary_faults_are_told_at_once,
          user_unary_faults_quote_no_long_path, user_unary_faults_are_limited)
