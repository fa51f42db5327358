/*
 * Any text as service config: a mistake is told in a problem that is safe to show; what was
 * accepted holds values in their ranges, for any path.
 */
#include "client/service_config.h"
#include "http2/grpc_status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

static void check_problem(const char *problem)
{
    must(memchr(problem, '\0', SERVICE_CONFIG_PROBLEM_SIZE) != NULL && problem[0] != '\0');
    for (; *problem != '\0'; problem++) {
        must((unsigned char)*problem >= ' ' && *problem != 0x7f);
    }
}

static void check_retry(const struct service_config_retry *retry)
{
    if (retry->max_attempts == 0) {
        must(retry->status_mask == 0 && retry->initial_backoff_ns == 0);
        return;
    }
    must(retry->max_attempts >= 2 && retry->max_attempts <= SERVICE_CONFIG_ATTEMPTS_MAX);
    must(retry->initial_backoff_ns > 0 && retry->max_backoff_ns > 0);
    must(retry->backoff_multiplier_thousandths > 0);
    must(retry->status_mask != 0 && (retry->status_mask & 1) == 0);
    must(retry->status_mask >> GRPC_STATUS_COUNT == 0);
    for (unsigned attempt = 2; attempt <= retry->max_attempts; attempt++) {
        const uint64_t low = service_config_retry_delay(retry, attempt, 0);
        const uint64_t any = service_config_retry_delay(retry, attempt, UINT64_MAX);

        must(low <= retry->max_backoff_ns && low <= any); /* 0.8 and up to 1.2 of the backoff */
        must(any / 6 <= retry->max_backoff_ns / 5 && any <= low + low / 2 + 1);
    }
}

static void check_method(const struct service_config *config, const char *path)
{
    const struct service_config_method *method = service_config_method(config, path);

    must(method != NULL);
    must(method->timeout_ns > 0);
    must(method->has_wait_for_ready || !method->wait_for_ready);
    check_retry(&method->retry);
}

static void check_config(const struct service_config *config, const char *text)
{
    const char *health = service_config_health_service(config);
    enum service_config_balancing balancing = service_config_balancing(config);
    uint32_t most;
    uint32_t ratio;

    check_method(config, "/a.B/C");
    check_method(config, "/a.B/");
    check_method(config, "a");
    check_method(config, "");
    check_method(config, text);
    must(balancing >= SERVICE_CONFIG_BALANCING_UNSET && balancing <= SERVICE_CONFIG_ROUND_ROBIN);
    must(health == NULL || strlen(health) < SERVICE_CONFIG_SIZE_MAX);
    service_config_throttling(config, &most, &ratio);
    must((most == 0) == (ratio == 0));
    must(most <= 1000000 && most % 1000 == 0 && ratio <= 1000000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char problem[SERVICE_CONFIG_PROBLEM_SIZE];
    struct service_config *config = NULL;
    char *text = malloc(size + 1);
    int result;

    must(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    memset(problem, 'x', sizeof(problem));
    result = service_config_parse(text, problem, &config);
    must(result == 0 || result == SERVICE_CONFIG_E_BAD || result == -ENOMEM);
    if (result == SERVICE_CONFIG_E_BAD) {
        check_problem(problem);
    }
    if (result == 0) {
        check_config(config, text);
    }
    service_config_free(config);
    free(text);
    return 0;
}
