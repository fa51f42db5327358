/*
 * A service config: what gRPC's JSON says about a service's methods (grpc/grpc-proto
 * service_config.proto): methodConfig with name, timeout, waitForReady, maxRequestMessageBytes,
 * maxResponseMessageBytes and retryPolicy; retryThrottling; loadBalancingConfig (and the older
 * loadBalancingPolicy); healthCheckConfig. Unknown members are ignored, as the specification asks;
 * wrong values of known ones are an error that names the member by its path. hedgingPolicy is
 * refused with a clear text. A member that is null is one that is not there. Pure.
 *
 * Owns:    a parsed config: its texts and tables.
 * Borrows: nothing.
 * Thread:  any; constant after parsing.
 */
#ifndef CLIENT_SERVICE_CONFIG_H
#define CLIENT_SERVICE_CONFIG_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stdint.h>

#define SERVICE_CONFIG_PROBLEM_SIZE 512
#define SERVICE_CONFIG_SIZE_MAX     65536 /* bytes of JSON */
#define SERVICE_CONFIG_METHODS_MAX  256   /* entries of methodConfig, and names in all of them */
#define SERVICE_CONFIG_ATTEMPTS_MAX 5     /* larger values count as this (gRFC A6) */

#define SERVICE_CONFIG_E_BAD 1 /* not JSON, or a member has a wrong value */

enum service_config_balancing {
    SERVICE_CONFIG_BALANCING_UNSET,
    SERVICE_CONFIG_PICK_FIRST,
    SERVICE_CONFIG_ROUND_ROBIN,
};

struct service_config;

struct service_config_retry {
    uint32_t max_attempts; /* 0 = no policy; else 2 to SERVICE_CONFIG_ATTEMPTS_MAX, the first one
                              included */
    uint64_t initial_backoff_ns;
    uint64_t max_backoff_ns;
    uint32_t backoff_multiplier_thousandths;
    uint32_t status_mask; /* bit N: status N may be retried */
};

/* What holds for one method. */
struct service_config_method {
    uint64_t timeout_ns; /* UINT64_MAX = none is set */
    bool has_wait_for_ready;
    bool wait_for_ready;
    uint32_t max_request_bytes;  /* 0 = not set */
    uint32_t max_response_bytes; /* 0 = not set */
    struct service_config_retry retry;
};

/* Returns 0, -ENOMEM, or SERVICE_CONFIG_E_BAD with `problem` (SERVICE_CONFIG_PROBLEM_SIZE bytes).
 */
int service_config_parse(const char *json, char *problem, struct service_config **ret_config);

/* NULL is fine. */
void service_config_free(struct service_config *config);

/* What holds for "/pkg.Service/Method": its own entry, else that of its service, else that of all,
 * else nothing set. `config` may be NULL. Never NULL; constant for the life of the config. */
const struct service_config_method *service_config_method(const struct service_config *config,
                                                          const char *path);

enum service_config_balancing service_config_balancing(const struct service_config *config);

/* The name to watch by grpc.health.v1; NULL = do not ask. */
const char *service_config_health_service(const struct service_config *config);

/* Both 0 when there is no throttling. */
void service_config_throttling(const struct service_config *config, uint32_t *ret_max_thousandths,
                               uint32_t *ret_ratio_thousandths);

/* How long to wait before attempt `attempt` (2 = the first retry): between 0.8 and 1.2 times
 * min(initial * multiplier^(attempt - 2), max) (gRFC A6). `random` is any 64 random bits. */
uint64_t service_config_retry_delay(const struct service_config_retry *retry, unsigned attempt,
                                    uint64_t random);

#endif
