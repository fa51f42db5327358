/*
 * Names of a user's statuses and of codes, and versions. Apart from the calls, so that who needs
 * the names alone is not linked with those.
 */
#include "core/tls.h"
#include "http2/grpc_status.h"
#include "userd/client.h"

#include <users/v1/users.pb-c.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define STATUS_PREFIX "USER_STATUS_"

const char *userd_user_status_name(int status)
{
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(&users__v1__user_status__descriptor, status);

    return value == NULL ? NULL : value->name;
}

int userd_user_status_from_name(const char *name)
{
    const ProtobufCEnumDescriptor *statuses = &users__v1__user_status__descriptor;

    for (unsigned i = 0; i < statuses->n_values; i++) {
        const char *full = statuses->values[i].name;

        if (strcasecmp(name, full) == 0 || strcasecmp(name, full + strlen(STATUS_PREFIX)) == 0) {
            return statuses->values[i].value;
        }
    }
    return -1;
}

const char *userd_code_name(int code)
{
    static _Thread_local char other[sizeof("CODE_-2147483648")];

    if (code >= 0 && code < GRPC_STATUS_COUNT) {
        return grpc_status_name(code);
    }
    (void)snprintf(other, sizeof(other), "CODE_%d", code);
    return other;
}

const char *userd_client_version(void)
{
    return USERD_VERSION;
}

const char *userd_client_tls_library(void)
{
    return tls_library();
}
