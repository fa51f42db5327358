#include "client/service_config_internal.h"
#include "http2/grpc_status.h"

#include <jansson.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ENTRY_SIZE       64  /* of "methodConfig[255]" */
#define PATH_SIZE        128 /* of what is in one */
#define STATUS_COUNT_MAX 64  /* entries of retryableStatusCodes */

/* ---------------------------------------------------------------------------------- retryPolicy */

static int status_from(const json_t *value)
{
    const char *name = json_string_value(value);
    int64_t number = 0;

    for (int status = 0; name != NULL && status < GRPC_STATUS_COUNT; status++) {
        if (strcasecmp(name, grpc_status_name(status)) == 0) {
            return status;
        }
    }
    if (name == NULL && service_config_read_whole(value, &number) && number >= 0 &&
        number < GRPC_STATUS_COUNT) {
        return (int)number;
    }
    return -1;
}

static int read_statuses(const struct service_config_reading *reading, const json_t *policy,
                         const char *where, uint32_t *ret_mask)
{
    static const char name[] = "retryableStatusCodes";
    const json_t *list = service_config_member(policy, name);
    char which[sizeof(name) + 24];

    if (!json_is_array(list) || json_array_size(list) == 0 ||
        json_array_size(list) > STATUS_COUNT_MAX) {
        return service_config_refuse(
            reading, where, name,
            "it is needed: a list of status codes, such as [\"UNAVAILABLE\"]");
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        int status = status_from(value);

        (void)snprintf(which, sizeof(which), "%s[%zu]", name, i);
        if (status < 0) {
            const char *text = json_string_value(value);

            return service_config_refuse(reading, where, which,
                                         "%s%.*s%s is no status code of gRPC",
                                         text == NULL ? "it" : "\"", SERVICE_CONFIG_SHOWN,
                                         text == NULL ? "" : text, text == NULL ? "" : "\"");
        }
        if (status == GRPC_STATUS_OK) {
            return service_config_refuse(reading, where, which,
                                         "OK is no failure that could be retried");
        }
        *ret_mask |= 1U << status;
    }
    return 0;
}

static int read_retry(const struct service_config_reading *reading, const json_t *entry,
                      const char *where, struct service_config_retry *retry)
{
    const json_t *policy = service_config_member(entry, "retryPolicy");
    char path[PATH_SIZE];
    int result;

    if (service_config_member(entry, "hedgingPolicy") != NULL) {
        return service_config_refuse(
            reading, where, "hedgingPolicy",
            "this client does not hedge: use retryPolicy, or leave it out");
    }
    if (policy == NULL) {
        return 0;
    }
    if (!json_is_object(policy)) {
        return service_config_refuse(reading, where, "retryPolicy", "it must be an object");
    }
    (void)snprintf(path, sizeof(path), "%s.retryPolicy", where);
    result = service_config_read_number(reading, policy, path, "maxAttempts", UINT32_MAX,
                                        &retry->max_attempts);
    if (result == 0 && retry->max_attempts == 1) {
        result = service_config_refuse(reading, path, "maxAttempts",
                                       "it must be 2 at least: the first attempt counts");
    }
    if (result == 0) {
        result = service_config_read_duration(reading, policy, path, "initialBackoff",
                                              &retry->initial_backoff_ns);
    }
    if (result == 0) {
        result = service_config_read_duration(reading, policy, path, "maxBackoff",
                                              &retry->max_backoff_ns);
    }
    if (result == 0) {
        result =
            service_config_read_thousandths(reading, policy, path, "backoffMultiplier", UINT32_MAX,
                                            &retry->backoff_multiplier_thousandths);
    }
    if (result == 0) {
        result = read_statuses(reading, policy, path, &retry->status_mask);
    }
    if (result == 0 && (retry->max_attempts == 0 || retry->initial_backoff_ns == 0 ||
                        retry->max_backoff_ns == 0 || retry->backoff_multiplier_thousandths == 0)) {
        result = service_config_refuse(
            reading, path, "",
            "maxAttempts, initialBackoff, maxBackoff and backoffMultiplier are needed");
    }
    if (retry->max_attempts > SERVICE_CONFIG_ATTEMPTS_MAX) {
        retry->max_attempts = SERVICE_CONFIG_ATTEMPTS_MAX;
    }
    return result;
}

/* ---------------------------------------------------------------------------------------- names */

/* By size, then bytes: most comparisons are of two numbers. */
static int compare_names(const void *left, const void *right)
{
    const struct service_config_name *a = left;
    const struct service_config_name *b = right;

    if (a->size != b->size) {
        return a->size < b->size ? -1 : 1;
    }
    return memcmp(a->text, b->text, a->size);
}

static int add_name(const struct service_config_reading *reading, const char *where,
                    const char *service, const char *method)
{
    struct service_config *config = reading->config;
    struct service_config_name *name = &config->names[config->name_count];

    if (config->name_count == SERVICE_CONFIG_METHODS_MAX) {
        return service_config_refuse(reading, where, "", "there are more than %d names",
                                     SERVICE_CONFIG_METHODS_MAX);
    }
    name->size = strlen(service) + 1 + strlen(method);
    name->text = malloc(name->size + 1);
    if (name->text == NULL) {
        return -ENOMEM;
    }
    (void)snprintf(name->text, name->size + 1, "%s/%s", service, method);
    name->method = (uint16_t)(config->method_count - 1);
    config->name_count++;
    for (size_t i = 0; i + 1 < config->name_count; i++) {
        if (compare_names(&config->names[i], name) == 0) {
            return service_config_refuse(reading, where, "",
                                         "\"%.*s\" has an entry already, methodConfig[%u]",
                                         SERVICE_CONFIG_SHOWN, name->text, config->names[i].method);
        }
    }
    return 0;
}

/* "" when it is not there; NULL when it is wrong. */
static const char *read_name_part(const struct service_config_reading *reading, const json_t *name,
                                  const char *where, const char *member)
{
    const json_t *value = service_config_member(name, member);
    const char *text = value == NULL ? "" : json_string_value(value);

    if (text == NULL || strchr(text, '/') != NULL) {
        (void)service_config_refuse(
            reading, where, member, "it must be a text without slashes, such as %s",
            strcmp(member, "service") == 0 ? "\"users.v1.UserService\"" : "\"GetUser\"");
        return NULL;
    }
    return text;
}

static int read_name(const struct service_config_reading *reading, const json_t *name,
                     const char *where)
{
    struct service_config *config = reading->config;
    const char *service;
    const char *method;

    if (!json_is_object(name)) {
        return service_config_refuse(reading, where, "",
                                     "it must be an object with service and method");
    }
    service = read_name_part(reading, name, where, "service");
    method = service == NULL ? NULL : read_name_part(reading, name, where, "method");
    if (method == NULL) {
        return SERVICE_CONFIG_E_BAD;
    }
    if (service[0] != '\0') {
        return add_name(reading, where, service, method);
    }
    if (method[0] != '\0') {
        return service_config_refuse(reading, where, "method",
                                     "a method without its service: add service");
    }
    if (config->all != NULL) {
        return service_config_refuse(reading, where, "",
                                     "the default of all methods, {}, has an entry already, "
                                     "methodConfig[%zu]",
                                     (size_t)(config->all - config->methods));
    }
    config->all = &config->methods[config->method_count - 1];
    return 0;
}

/* An entry without names holds for nothing, which is no error. */
static int read_names(const struct service_config_reading *reading, const json_t *entry,
                      const char *where)
{
    const json_t *list = service_config_member(entry, "name");
    char path[PATH_SIZE];
    int result = 0;

    if (list != NULL && !json_is_array(list)) {
        return service_config_refuse(reading, where, "name", "it must be a list of objects");
    }
    for (size_t i = 0; result == 0 && i < json_array_size(list); i++) {
        (void)snprintf(path, sizeof(path), "%s.name[%zu]", where, i);
        result = read_name(reading, json_array_get(list, i), path);
    }
    return result;
}

/* ------------------------------------------------------------------------------------- the list */

static int read_method(const struct service_config_reading *reading, const json_t *entry,
                       const char *where)
{
    struct service_config *config = reading->config;
    struct service_config_method *method = &config->methods[config->method_count];
    int result;

    if (!json_is_object(entry)) {
        return service_config_refuse(reading, where, "", "it must be an object");
    }
    *method = service_config_unset;
    config->method_count++;
    result = read_names(reading, entry, where);
    if (result == 0) {
        result =
            service_config_read_duration(reading, entry, where, "timeout", &method->timeout_ns);
    }
    if (result == 0) {
        result = service_config_read_flag(reading, entry, where, "waitForReady",
                                          &method->has_wait_for_ready, &method->wait_for_ready);
    }
    if (result == 0) {
        result = service_config_read_number(reading, entry, where, "maxRequestMessageBytes",
                                            UINT32_MAX, &method->max_request_bytes);
    }
    if (result == 0) {
        result = service_config_read_number(reading, entry, where, "maxResponseMessageBytes",
                                            UINT32_MAX, &method->max_response_bytes);
    }
    return result != 0 ? result : read_retry(reading, entry, where, &method->retry);
}

int service_config_read_methods(const struct service_config_reading *reading, const json_t *root)
{
    const json_t *list = service_config_member(root, "methodConfig");
    char where[ENTRY_SIZE];
    int result = 0;

    if (list != NULL && !json_is_array(list)) {
        return service_config_refuse(reading, "", "methodConfig", "it must be a list of objects");
    }
    if (json_array_size(list) > SERVICE_CONFIG_METHODS_MAX) {
        return service_config_refuse(reading, "", "methodConfig", "it has more than %d entries",
                                     SERVICE_CONFIG_METHODS_MAX);
    }
    for (size_t i = 0; result == 0 && i < json_array_size(list); i++) {
        (void)snprintf(where, sizeof(where), "methodConfig[%zu]", i);
        result = read_method(reading, json_array_get(list, i), where);
    }
    qsort(reading->config->names, reading->config->name_count, sizeof(reading->config->names[0]),
          compare_names);
    return result;
}
