#include "lib/unit.h"

#include "http2/grpc_method.h"
#include "service/health.h"
#include "service/method_class.h"
#include "service/reflection.h"
#include "service_fixture.h"

static bool is_listed(const char *path)
{
    for (unsigned i = 0; method_class_paths[i] != NULL; i++) {
        if (strcmp(method_class_paths[i], path) == 0) {
            return true;
        }
    }
    return false;
}

/* Every method that is served stands in the list, and nothing else. */
START_TEST(method_class_lists_all_methods)
{
    static struct service_fixture fixture;
    struct grpc_method health[HEALTH_METHOD_COUNT];
    struct grpc_method reflection[REFLECTION_METHOD_COUNT];
    unsigned count = 0;

    service_start(&fixture);
    health_methods(NULL, health);
    for (unsigned i = 0; i < USER_SERVICE_METHOD_COUNT; i++) {
        ck_assert_msg(is_listed(fixture.methods[i].path), "%s", fixture.methods[i].path);
    }
    for (unsigned i = 0; i < HEALTH_METHOD_COUNT; i++) {
        ck_assert_msg(is_listed(health[i].path), "%s", health[i].path);
        ck_assert_int_eq(method_class_of(health[i].path), METHOD_CLASS_HEALTH);
    }
    reflection_methods(NULL, reflection);
    for (unsigned i = 0; i < REFLECTION_METHOD_COUNT; i++) {
        ck_assert_msg(is_listed(reflection[i].path), "%s", reflection[i].path);
        ck_assert_int_eq(method_class_of(reflection[i].path), METHOD_CLASS_REFLECTION);
    }
    while (method_class_paths[count] != NULL) {
        count++;
    }
    ck_assert_uint_eq(count,
                      USER_SERVICE_METHOD_COUNT + HEALTH_METHOD_COUNT + REFLECTION_METHOD_COUNT);
    service_finish(&fixture);
}

END_TEST

/* One call, one change: these three. Streams of changes are counted by their messages. */
START_TEST(method_class_knows_changes)
{
    static const char *const changes[] = {"CreateUser", "UpdateUser", "DeleteUser"};
    unsigned count = 0;

    for (unsigned i = 0; method_class_paths[i] != NULL; i++) {
        count += method_class_of(method_class_paths[i]) == METHOD_CLASS_CHANGE;
    }
    ck_assert_uint_eq(count, 3);
    for (unsigned i = 0; i < 3; i++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/users.v1.UserService/%s", changes[i]);
        ck_assert_int_eq(method_class_of(path), METHOD_CLASS_CHANGE);
    }
    ck_assert_int_eq(method_class_of("/a.B/CreateUser"), METHOD_CLASS_CALL);
    ck_assert_int_eq(method_class_of("/grpc.health.v1.Healthy/Check"), METHOD_CLASS_CALL);
}

END_TEST

UNIT_MAIN("method_class", method_class_lists_all_methods, method_class_knows_changes)
