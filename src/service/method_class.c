#include "service/method_class.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define USERS            "/users.v1.UserService/"
#define HEALTH           "/grpc.health.v1.Health/"
#define REFLECTION       "/grpc.reflection.v1.ServerReflection/"
#define REFLECTION_ALPHA "/grpc.reflection.v1alpha.ServerReflection/"

/* A test holds it against the tables that the services fill in. */
const char *const method_class_paths[] = {
    USERS "GetUser",
    USERS "CreateUser",
    USERS "UpdateUser",
    USERS "DeleteUser",
    USERS "ListUsers",
    USERS "WatchUser",
    USERS "BatchCreateUsers",
    USERS "SyncUsers",
    HEALTH "Check",
    HEALTH "List",
    HEALTH "Watch",
    REFLECTION "ServerReflectionInfo",
    REFLECTION_ALPHA "ServerReflectionInfo",
    NULL,
};

static bool begins_with(const char *path, const char *prefix)
{
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

static bool is_change(const char *name)
{
    return strcmp(name, "CreateUser") == 0 || strcmp(name, "UpdateUser") == 0 ||
           strcmp(name, "DeleteUser") == 0;
}

enum method_class method_class_of(const char *path)
{
    if (begins_with(path, USERS)) {
        return is_change(path + sizeof(USERS) - 1) ? METHOD_CLASS_CHANGE : METHOD_CLASS_CALL;
    }
    if (begins_with(path, HEALTH)) {
        return METHOD_CLASS_HEALTH;
    }
    if (begins_with(path, REFLECTION) || begins_with(path, REFLECTION_ALPHA)) {
        return METHOD_CLASS_REFLECTION;
    }
    return METHOD_CLASS_CALL;
}
