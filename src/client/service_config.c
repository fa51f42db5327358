#include "client/service_config.h"

#include "client/service_config_internal.h"

#include <jansson.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TOKENS_MAX   1000
#define DELAY_MAX_NS (UINT64_MAX / 4) /* 146 years */

const struct service_config_method service_config_unset = {.timeout_ns = UINT64_MAX};

/* ---------------------------------------------------------------------- what is for all methods */

static int read_throttling(const struct service_config_reading *reading, const json_t *root)
{
    static const char name[] = "retryThrottling";
    const json_t *throttling = service_config_member(root, name);
    uint32_t tokens = 0;
    uint32_t ratio = 0;
    int result;

    if (throttling == NULL) {
        return 0;
    }
    if (!json_is_object(throttling)) {
        return service_config_refuse(reading, "", name, "it must be an object");
    }
    result =
        service_config_read_number(reading, throttling, name, "maxTokens", TOKENS_MAX, &tokens);
    if (result == 0) {
        result = service_config_read_thousandths(reading, throttling, name, "tokenRatio",
                                                 TOKENS_MAX * 1000, &ratio);
    }
    if (result == 0 && (tokens == 0 || ratio == 0)) {
        result = service_config_refuse(reading, "", name, "maxTokens and tokenRatio are needed");
    }
    reading->config->max_thousandths = tokens * 1000;
    reading->config->ratio_thousandths = ratio;
    return result;
}

static enum service_config_balancing balancing_from(const char *name)
{
    if (strcasecmp(name, "pick_first") == 0) {
        return SERVICE_CONFIG_PICK_FIRST;
    }
    return strcasecmp(name, "round_robin") == 0 ? SERVICE_CONFIG_ROUND_ROBIN
                                                : SERVICE_CONFIG_BALANCING_UNSET;
}

/* The first policy that is known, in a list of objects with one member each. */
static int read_balancing_list(const struct service_config_reading *reading, const json_t *list)
{
    static const char name[] = "loadBalancingConfig";
    const char *first = NULL;
    char which[sizeof(name) + 24];

    if (!json_is_array(list)) {
        return service_config_refuse(reading, "", name,
                                     "it must be a list, such as [{\"round_robin\": {}}]");
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *entry = json_array_get(list, i);
        void *policy = json_object_iter(entry);
        const char *policy_name = json_object_iter_key(policy);

        (void)snprintf(which, sizeof(which), "%s[%zu]", name, i);
        if (json_object_size(entry) != 1 || !json_is_object(json_object_iter_value(policy))) {
            return service_config_refuse(
                reading, "", which,
                "it must be an object with one policy, such as {\"round_robin\": {}}");
        }
        reading->config->balancing =
            strcmp(policy_name, "pick_first") == 0 || strcmp(policy_name, "round_robin") == 0
                ? balancing_from(policy_name)
                : SERVICE_CONFIG_BALANCING_UNSET;
        if (reading->config->balancing != SERVICE_CONFIG_BALANCING_UNSET) {
            return 0;
        }
        first = first == NULL ? policy_name : first;
    }
    if (first == NULL) {
        return 0; /* an empty list is one that is not set */
    }
    return service_config_refuse(reading, "", name,
                                 "no policy in it is known (\"%.*s\"): pick_first and "
                                 "round_robin are",
                                 SERVICE_CONFIG_SHOWN, first);
}

static int read_balancing(const struct service_config_reading *reading, const json_t *root)
{
    const json_t *list = service_config_member(root, "loadBalancingConfig");
    const json_t *policy = service_config_member(root, "loadBalancingPolicy");
    const char *name = json_string_value(policy);

    if (json_is_array(list) ? json_array_size(list) > 0 : list != NULL) {
        return read_balancing_list(reading, list);
    }
    if (policy == NULL || (name != NULL && strcasecmp(name, "unspecified") == 0)) {
        return 0;
    }
    reading->config->balancing =
        name == NULL ? SERVICE_CONFIG_BALANCING_UNSET : balancing_from(name);
    if (reading->config->balancing == SERVICE_CONFIG_BALANCING_UNSET) {
        return service_config_refuse(reading, "", "loadBalancingPolicy",
                                     "it must be \"pick_first\" or \"round_robin\"");
    }
    return 0;
}

static int read_health(const struct service_config_reading *reading, const json_t *root)
{
    static const char name[] = "healthCheckConfig";
    const json_t *health = service_config_member(root, name);
    const json_t *service = service_config_member(health, "serviceName");

    if (health != NULL && !json_is_object(health)) {
        return service_config_refuse(reading, "", name, "it must be an object");
    }
    if (service == NULL) {
        return 0;
    }
    if (!json_is_string(service)) {
        return service_config_refuse(reading, name, "serviceName",
                                     "it must be a text (\"\" for the health of the whole server)");
    }
    reading->config->health_service = strdup(json_string_value(service));
    return reading->config->health_service == NULL ? -ENOMEM : 0;
}

/* ------------------------------------------------------------------------------------ the whole */

static int read_config(const struct service_config_reading *reading, const json_t *root)
{
    int result;

    if (!json_is_object(root)) {
        return service_config_refuse(reading, "", "service config", "it must be a JSON object");
    }
    result = service_config_read_methods(reading, root);
    if (result == 0) {
        result = read_throttling(reading, root);
    }
    if (result == 0) {
        result = read_balancing(reading, root);
    }
    return result != 0 ? result : read_health(reading, root);
}

static int refuse_json(const struct service_config_reading *reading, const json_error_t *error)
{
    if (json_error_code(error) == json_error_out_of_memory) {
        return -ENOMEM;
    }
    return service_config_refuse(reading, "", "service config",
                                 "not well-formed JSON: line %d, column %d: %s", error->line,
                                 error->column, error->text);
}

int service_config_parse(const char *json, char *problem, struct service_config **ret_config)
{
    struct service_config_reading reading = {0};
    size_t size = strnlen(json, SERVICE_CONFIG_SIZE_MAX + 1);
    json_error_t error;
    json_t *root;
    int result;

    reading.problem = problem;
    if (size > SERVICE_CONFIG_SIZE_MAX) {
        return service_config_refuse(&reading, "", "service config", "it is larger than %d bytes",
                                     SERVICE_CONFIG_SIZE_MAX);
    }
    root = json_loadb(json, size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        return refuse_json(&reading, &error);
    }
    reading.config = calloc(1, sizeof(*reading.config));
    result = reading.config == NULL ? -ENOMEM : read_config(&reading, root);
    json_decref(root);
    if (result != 0) {
        service_config_free(reading.config);
        return result;
    }
    *ret_config = reading.config;
    return 0;
}

void service_config_free(struct service_config *config)
{
    if (config == NULL) {
        return;
    }
    for (size_t i = 0; i < config->name_count; i++) {
        free(config->names[i].text);
    }
    free(config->health_service);
    free(config);
}

/* --------------------------------------------------------------------------------------- asking */

static const struct service_config_method *find(const struct service_config *config,
                                                const char *text, size_t size)
{
    size_t low = 0;
    size_t high = config->name_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct service_config_name *name = &config->names[middle];
        int order =
            name->size != size ? (name->size < size ? -1 : 1) : memcmp(name->text, text, size);

        if (order == 0) {
            return &config->methods[name->method];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

const struct service_config_method *service_config_method(const struct service_config *config,
                                                          const char *path)
{
    const struct service_config_method *found = NULL;
    const char *text = path[0] == '/' ? path + 1 : path;
    const char *slash = strrchr(text, '/');

    if (config == NULL) {
        return &service_config_unset;
    }
    if (slash != NULL && config->name_count > 0) {
        found = find(config, text, strlen(text));
        if (found == NULL) {
            found = find(config, text, (size_t)(slash - text) + 1);
        }
    }
    if (found == NULL) {
        found = config->all;
    }
    return found == NULL ? &service_config_unset : found;
}

enum service_config_balancing service_config_balancing(const struct service_config *config)
{
    return config == NULL ? SERVICE_CONFIG_BALANCING_UNSET : config->balancing;
}

const char *service_config_health_service(const struct service_config *config)
{
    return config == NULL ? NULL : config->health_service;
}

void service_config_throttling(const struct service_config *config, uint32_t *ret_max_thousandths,
                               uint32_t *ret_ratio_thousandths)
{
    *ret_max_thousandths = config == NULL ? 0 : config->max_thousandths;
    *ret_ratio_thousandths = config == NULL ? 0 : config->ratio_thousandths;
}

uint64_t service_config_retry_delay(const struct service_config_retry *retry, unsigned attempt,
                                    uint64_t random)
{
    double delay = (double)retry->initial_backoff_ns;
    uint64_t most = retry->max_backoff_ns;

    for (unsigned i = 2; i < attempt && i < SERVICE_CONFIG_ATTEMPTS_MAX; i++) {
        delay = delay * retry->backoff_multiplier_thousandths / 1000;
    }
    if (delay < (double)most) {
        most = (uint64_t)delay;
    }
    most = most < DELAY_MAX_NS ? most : DELAY_MAX_NS;
    return most - most / 5 + random % (2 * (most / 5) + 1);
}
