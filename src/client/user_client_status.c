/*
 * The names of a user's statuses. Apart from the calls, so that who needs the names alone is not
 * linked with those.
 */
#include "client/user_client.h"

#include <users/v1/users.pb-c.h>

#include <string.h>
#include <strings.h>

#define STATUS_PREFIX "USER_STATUS_"

const char *user_client_status_name(int status)
{
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(&users__v1__user_status__descriptor, status);

    return value == NULL ? NULL : value->name;
}

int user_client_status_from_name(const char *name)
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
