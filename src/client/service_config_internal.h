/*
 * What the files of a service config share: the tables, and how members are read.
 *
 * service_config.c asks and reads what is for all methods, service_config_method.c reads
 * methodConfig, service_config_value.c the values of single members.
 *
 * Readers return 0, -ENOMEM, or SERVICE_CONFIG_E_BAD with the problem told. `where` is the way to
 * the object, such as "methodConfig[0].retryPolicy"; "" at the top.
 *
 * Owns, borrows: nothing.
 * Thread:  one at a time.
 */
#ifndef CLIENT_SERVICE_CONFIG_INTERNAL_H
#define CLIENT_SERVICE_CONFIG_INTERNAL_H

#include "client/service_config.h"

#include <stddef.h>

struct json_t;

#define SERVICE_CONFIG_SHOWN 80 /* bytes of a value in a problem */

/* Kept as it stands in a path, without the slash at its front: "pkg.Service/Method", and
 * "pkg.Service/" for all methods of a service. */
struct service_config_name {
    char *text;
    size_t size;
    uint16_t method;
};

struct service_config {
    struct service_config_method methods[SERVICE_CONFIG_METHODS_MAX];
    struct service_config_name names[SERVICE_CONFIG_METHODS_MAX]; /* by size, then bytes */
    size_t method_count;
    size_t name_count;
    const struct service_config_method *all; /* that has the name {}; NULL = none */
    enum service_config_balancing balancing;
    char *health_service; /* NULL = none */
    uint32_t max_thousandths;
    uint32_t ratio_thousandths;
};

/* Reading one config. */
struct service_config_reading {
    struct service_config *config;
    char *problem;
};

extern const struct service_config_method service_config_unset;

/* Tells "methodConfig[0].retryPolicy.maxAttempts: it must ...". Returns SERVICE_CONFIG_E_BAD. */
__attribute__((format(printf, 4, 5))) int
service_config_refuse(const struct service_config_reading *reading, const char *where,
                      const char *member, const char *format, ...);

/* NULL also when it is null, which in protobuf's JSON means that it is not set. */
const struct json_t *service_config_member(const struct json_t *object, const char *name);

/* A whole number, in any of the spellings of protobuf's JSON: 5, 5.0, "5". As text it is not
 * negative. */
bool service_config_read_whole(const struct json_t *value, int64_t *ret_number);

/* These leave what they point to alone when the member is not there. The first: from 1 on. */
int service_config_read_number(const struct service_config_reading *reading,
                               const struct json_t *object, const char *where, const char *name,
                               uint32_t most, uint32_t *number);

/* A time above 0. */
int service_config_read_duration(const struct service_config_reading *reading,
                                 const struct json_t *object, const char *where, const char *name,
                                 uint64_t *ns);

/* A positive number in thousandths, further digits dropped; more than `most` counts as that. */
int service_config_read_thousandths(const struct service_config_reading *reading,
                                    const struct json_t *object, const char *where,
                                    const char *name, uint32_t most, uint32_t *thousandths);

int service_config_read_flag(const struct service_config_reading *reading,
                             const struct json_t *object, const char *where, const char *name,
                             bool *ret_is_there, bool *ret_flag);

/* The member methodConfig. */
int service_config_read_methods(const struct service_config_reading *reading,
                                const struct json_t *root);

#endif
