#include "lib/unit.h"

#include "http2/grpc_method.h"

static const struct grpc_method rows[] = {
    {.path = "/users.v1.UserService/GetUser"},
    {.path = "/users.v1.UserService/CreateUser"},
    {.path = "/grpc.health.v1.Health/Check"},
};

static struct grpc_method_table table;

/* Every row is found by its path, with its place in the table. */
START_TEST(method_is_found_by_its_exact_path)
{
    unsigned i;

    ck_assert_int_eq(grpc_method_table_init(&table, rows, 3), 0);
    for (i = 0; i < 3; i++) {
        const struct grpc_method *method = grpc_method_find(&table, bytes_from_text(rows[i].path));

        ck_assert_ptr_nonnull(method);
        ck_assert_str_eq(method->path, rows[i].path);
        ck_assert_uint_eq(method->index, i);
    }
    grpc_method_table_deinit(&table);
}

END_TEST

/* What differs in a byte is another path: no decoding, no folding, no trimming (P1, P2). */
START_TEST(method_is_not_found_by_anything_else)
{
    static const char *const others[] = {"users.v1.UserService/GetUser",
                                         "/users.v1.UserService/getUser",
                                         "/users.v1.UserService/GetUser/",
                                         "//users.v1.UserService/GetUser",
                                         "/users.v1.UserService/Get%55ser",
                                         "/users.v1.UserService/GetUser?x=y",
                                         "/users.v1.UserService/",
                                         "/",
                                         ""};
    size_t i;

    ck_assert_int_eq(grpc_method_table_init(&table, rows, 3), 0);
    for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        ck_assert_ptr_null(grpc_method_find(&table, bytes_from_text(others[i])));
    }
    grpc_method_table_deinit(&table);
}

END_TEST

/* A path belongs to a known service by what stands before its last slash. */
START_TEST(method_service_is_known_by_name)
{
    ck_assert_int_eq(grpc_method_table_init(&table, rows, 3), 0);
    ck_assert(grpc_method_service_is_known(&table, BYTES_LITERAL("/users.v1.UserService/Nope")));
    ck_assert(grpc_method_service_is_known(&table, BYTES_LITERAL("/grpc.health.v1.Health/")));
    ck_assert(!grpc_method_service_is_known(&table, BYTES_LITERAL("/users.v1.User/GetUser")));
    ck_assert(!grpc_method_service_is_known(&table, BYTES_LITERAL("/users.v1.UserService")));
    ck_assert(!grpc_method_service_is_known(&table, BYTES_LITERAL("//x")));
    ck_assert(!grpc_method_service_is_known(&table, BYTES_LITERAL("")));
    grpc_method_table_deinit(&table);
}

END_TEST

/* A table without rows finds nothing and is freed. */
START_TEST(method_table_may_be_empty)
{
    ck_assert_int_eq(grpc_method_table_init(&table, NULL, 0), 0);
    ck_assert_ptr_null(grpc_method_find(&table, BYTES_LITERAL("/a/b")));
    grpc_method_table_deinit(&table);
}

END_TEST

/* Two of the four shapes take a stream of requests. */
START_TEST(method_shapes)
{
    static const struct grpc_method methods[] = {{.kind = GRPC_METHOD_UNARY},
                                                 {.kind = GRPC_METHOD_SERVER_STREAM},
                                                 {.kind = GRPC_METHOD_CLIENT_STREAM},
                                                 {.kind = GRPC_METHOD_BIDI_STREAM}};
    size_t i;

    for (i = 0; i < 4; i++) {
        ck_assert_int_eq(grpc_method_streams_requests(&methods[i]), i >= 2);
    }
}

END_TEST

UNIT_MAIN("grpc_method", method_shapes, method_is_found_by_its_exact_path,
          method_is_not_found_by_anything_else, method_service_is_known_by_name,
          method_table_may_be_empty)
