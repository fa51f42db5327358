#include "lib/unit.h"

#include "client/service_config.h"
#include "http2/grpc_status.h"

#include <stdio.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define S               1000000000ULL
#define MS              1000000ULL
#define DAY             (24 * 3600 * S)

#define RETRY                                                                                      \
    "\"retryPolicy\": {\"maxAttempts\": 3, \"initialBackoff\": \"0.1s\", \"maxBackoff\": \"1s\", " \
    "\"backoffMultiplier\": 2, \"retryableStatusCodes\": [\"UNAVAILABLE\"]}"

static char problem[SERVICE_CONFIG_PROBLEM_SIZE];

static struct service_config *parse(const char *json)
{
    struct service_config *config = NULL;
    int result = service_config_parse(json, problem, &config);

    ck_assert_msg(result == 0, "%s: %s", json, problem);
    return config;
}

/* Refused with all of these words. */
static void refuse(const char *json, const char *words, const char *more_words)
{
    struct service_config *config = NULL;

    memset(problem, 'x', sizeof(problem));
    ck_assert_msg(service_config_parse(json, problem, &config) == SERVICE_CONFIG_E_BAD, "taken: %s",
                  json);
    ck_assert_ptr_null(config);
    ck_assert_ptr_nonnull(memchr(problem, '\0', sizeof(problem)));
    ck_assert_msg(strstr(problem, words) != NULL, "no \"%s\" in: %s", words, problem);
    ck_assert_msg(strstr(problem, more_words) != NULL, "no \"%s\" in: %s", more_words, problem);
}

/* The method of a config with one entry for all. */
static struct service_config_method method_of(const char *members)
{
    char json[1024];
    struct service_config *config;
    struct service_config_method method;

    (void)snprintf(json, sizeof(json), "{\"methodConfig\": [{\"name\": [{}], %s}]}", members);
    config = parse(json);
    method = *service_config_method(config, "/any.Service/Method");
    service_config_free(config);
    return method;
}

static void expect_unset(const struct service_config_method *method)
{
    ck_assert_uint_eq(method->timeout_ns, UINT64_MAX);
    ck_assert(!method->has_wait_for_ready);
    ck_assert(!method->wait_for_ready);
    ck_assert_uint_eq(method->max_request_bytes, 0);
    ck_assert_uint_eq(method->max_response_bytes, 0);
    ck_assert_uint_eq(method->retry.max_attempts, 0);
}

/* Nothing, or nothing that we know, sets nothing. */
START_TEST(service_config_may_say_nothing)
{
    static const char *const texts[] = {
        "{}",
        " {\"unknown\": [1, {\"a\": null}], \"clientLanguage\": \"c\"} ",
        "{\"methodConfig\": null, \"retryThrottling\": null, \"loadBalancingConfig\": null, "
        "\"loadBalancingPolicy\": null, \"healthCheckConfig\": null}",
        "{\"methodConfig\": [], \"loadBalancingConfig\": [], \"healthCheckConfig\": {}}",
        "{\"methodConfig\": [{}, {\"name\": []}, {\"name\": null, \"timeout\": \"1s\"}]}",
        "{\"methodConfig\": [{\"name\": [{}], \"timeout\": null, \"waitForReady\": null, "
        "\"retryPolicy\": null, \"hedgingPolicy\": null, \"other\": 1}]}",
        "{\"loadBalancingPolicy\": \"UNSPECIFIED\", \"healthCheckConfig\": {\"serviceName\": "
        "null}}",
    };
    uint32_t most = 1;
    uint32_t ratio = 1;

    for (size_t i = 0; i <= COUNT_OF(texts); i++) {
        struct service_config *config = i == COUNT_OF(texts) ? NULL : parse(texts[i]);

        expect_unset(service_config_method(config, "/users.v1.UserService/GetUser"));
        expect_unset(service_config_method(config, ""));
        ck_assert_int_eq(service_config_balancing(config), SERVICE_CONFIG_BALANCING_UNSET);
        ck_assert_ptr_null(service_config_health_service(config));
        service_config_throttling(config, &most, &ratio);
        ck_assert_uint_eq(most, 0);
        ck_assert_uint_eq(ratio, 0);
        service_config_free(config);
    }
}

END_TEST

static uint64_t timeout_at(const struct service_config *config, const char *path)
{
    return service_config_method(config, path)->timeout_ns;
}

/* A method's own entry wins over that of its service, and that over the one of all. */
START_TEST(service_config_finds_the_nearest_entry)
{
    struct service_config *config = parse(
        "{\"methodConfig\": ["
        "{\"name\": [{\"service\": \"a.B\", \"method\": \"Get\"}, {\"service\": \"a.C\", "
        "\"method\": \"Put\"}], \"timeout\": \"1s\"},"
        "{\"name\": [{\"service\": \"a.B\"}, {\"service\": \"D\", \"method\": \"\"}], \"timeout\": "
        "\"2s\"},"
        "{\"name\": [{\"service\": \"\"}], \"timeout\": \"3s\"}]}");

    ck_assert_uint_eq(timeout_at(config, "/a.B/Get"), 1 * S);
    ck_assert_uint_eq(timeout_at(config, "/a.C/Put"), 1 * S);
    ck_assert_uint_eq(timeout_at(config, "/a.B/Gex"), 2 * S);
    ck_assert_uint_eq(timeout_at(config, "/a.B/Ge"), 2 * S);
    ck_assert_uint_eq(timeout_at(config, "/a.B/GetAll"), 2 * S);
    ck_assert_uint_eq(timeout_at(config, "/a.B/"), 2 * S);
    ck_assert_uint_eq(timeout_at(config, "/D/Any"), 2 * S);
    ck_assert_uint_eq(timeout_at(config, "/a.C/Get"), 3 * S);
    ck_assert_uint_eq(timeout_at(config, "/a.BB/Get"), 3 * S);
    ck_assert_uint_eq(timeout_at(config, "/a/B/Get"), 3 * S);
    ck_assert_uint_eq(timeout_at(config, "a.B"), 3 * S);
    ck_assert_uint_eq(timeout_at(config, "/"), 3 * S);
    ck_assert_uint_eq(timeout_at(config, ""), 3 * S);
    service_config_free(config);
}

END_TEST

/* Every one of as many names as may be is found, and one more is refused; so with entries. */
START_TEST(service_config_keeps_its_limits)
{
    static char json[SERVICE_CONFIG_SIZE_MAX + 2];
    struct service_config *config;
    char path[32];
    size_t size = 0;

    for (unsigned i = 0; i < SERVICE_CONFIG_METHODS_MAX; i++) {
        size += (size_t)snprintf(json + size, sizeof(json) - size,
                                 "%s{\"name\": [{\"service\": \"s%u\"}], \"timeout\": \"%us\"}",
                                 i == 0 ? "{\"methodConfig\": [" : ",", i * 7919 % 1000, i + 1);
    }
    (void)snprintf(json + size, sizeof(json) - size, "]}");
    config = parse(json);
    for (unsigned i = 0; i < SERVICE_CONFIG_METHODS_MAX; i++) {
        (void)snprintf(path, sizeof(path), "/s%u/M", i * 7919 % 1000);
        ck_assert_uint_eq(timeout_at(config, path), (i + 1) * S);
    }
    service_config_free(config);
    (void)snprintf(json + size, sizeof(json) - size, ",{}]}");
    refuse(json, "methodConfig", "more than 256 entries");

    size = 0;
    for (unsigned i = 0; i <= SERVICE_CONFIG_METHODS_MAX; i++) {
        size += (size_t)snprintf(json + size, sizeof(json) - size, "%s{\"service\": \"s%u\"}",
                                 i == 0 ? "{\"methodConfig\": [{\"name\": [" : ",", i);
    }
    (void)snprintf(json + size, sizeof(json) - size, "]}]}");
    refuse(json, "methodConfig[0].name[256]", "more than 256 names");

    memset(json, ' ', sizeof(json));
    memcpy(json, "{}", 2);
    json[SERVICE_CONFIG_SIZE_MAX] = '\0';
    service_config_free(parse(json));
    json[SERVICE_CONFIG_SIZE_MAX] = ' ';
    json[SERVICE_CONFIG_SIZE_MAX + 1] = '\0';
    refuse(json, "service config", "larger than 65536 bytes");

    memset(json, '[', 60000);
    json[60000] = '\0';
    refuse(json, "service config", "not well-formed JSON");
}

END_TEST

/* Durations as in protobuf's JSON. */
START_TEST(service_config_reads_durations)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } cases[] = {
        {"1s", S},
        {"1.5s", 1500 * MS},
        {"0.000000001s", 1},
        {"0.1s", 100 * MS},
        {"0.100000000s", 100 * MS},
        {"0007s", 7 * S},
        {"3600s", 3600 * S},
        {"3162240000s", 100 * 366 * DAY},
        {"315576000000s", 100 * 366 * DAY}, /* as much as there may be counts as 100 years */
    };

    static const char *const bad[] = {
        "",
        "s",
        "1",
        "1.s",
        ".5s",
        "1.5",
        "-1s",
        "+1s",
        " 1s",
        "1s ",
        "1ms",
        "1m",
        "1.0000000001s",
        "1e3s",
        "1,5s",
        "0s",
        "0.0s",
        "0.000000000s",
        "315576000001s",
        "99999999999999999999s",
        "1.5.5s",
        "0x1s",
        "1 s",
    };
    char json[128];

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        (void)snprintf(json, sizeof(json), "\"timeout\": \"%s\"", cases[i].text);
        ck_assert_uint_eq(method_of(json).timeout_ns, cases[i].ns);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        (void)snprintf(json, sizeof(json), "{\"methodConfig\": [{}, {\"timeout\": \"%s\"}]}",
                       bad[i]);
        refuse(json, "methodConfig[1].timeout:", "\"1.5s\"");
    }
    refuse("{\"methodConfig\": [{\"timeout\": 1.5}]}", "methodConfig[0].timeout:", "a text");
}

END_TEST

/* The other members of a method. */
START_TEST(service_config_reads_methods)
{
    struct service_config_method method =
        method_of("\"waitForReady\": true, \"maxRequestMessageBytes\": 4294967295, "
                  "\"maxResponseMessageBytes\": \"1\"");

    ck_assert(method.has_wait_for_ready);
    ck_assert(method.wait_for_ready);
    ck_assert_uint_eq(method.max_request_bytes, UINT32_MAX);
    ck_assert_uint_eq(method.max_response_bytes, 1);
    method = method_of("\"waitForReady\": false, \"maxRequestMessageBytes\": 1e3");
    ck_assert(method.has_wait_for_ready);
    ck_assert(!method.wait_for_ready);
    ck_assert_uint_eq(method.max_request_bytes, 1000);
}

END_TEST

/* A retry policy, with every spelling of a status; more attempts than five are five. */
START_TEST(service_config_reads_retry_policies)
{
    struct service_config_retry retry =
        method_of("\"retryPolicy\": {\"maxAttempts\": 4, \"initialBackoff\": \"0.1s\", "
                  "\"maxBackoff\": \"2.5s\", \"backoffMultiplier\": 1.6, \"retryableStatusCodes\": "
                  "[\"UNAVAILABLE\", \"resource_exhausted\", 4, \"Aborted\", 4, 13.0], "
                  "\"perAttemptRecvTimeout\": \"1s\"}")
            .retry;

    ck_assert_uint_eq(retry.max_attempts, 4);
    ck_assert_uint_eq(retry.initial_backoff_ns, 100 * MS);
    ck_assert_uint_eq(retry.max_backoff_ns, 2500 * MS);
    ck_assert_uint_eq(retry.backoff_multiplier_thousandths, 1600);
    ck_assert_uint_eq(retry.status_mask,
                      1U << GRPC_STATUS_UNAVAILABLE | 1U << GRPC_STATUS_RESOURCE_EXHAUSTED |
                          1U << GRPC_STATUS_DEADLINE_EXCEEDED | 1U << GRPC_STATUS_ABORTED |
                          1U << GRPC_STATUS_INTERNAL);
    for (unsigned i = 2; i < 9; i++) {
        char json[256];

        (void)snprintf(json, sizeof(json),
                       "\"retryPolicy\": {\"maxAttempts\": %u, \"initialBackoff\": \"1s\", "
                       "\"maxBackoff\": \"1s\", \"backoffMultiplier\": %s, "
                       "\"retryableStatusCodes\": [16]}",
                       i == 8 ? UINT32_MAX : i, i == 8 ? "1e300" : "0.001");
        retry = method_of(json).retry;
        ck_assert_uint_eq(retry.max_attempts, i < 5 ? i : 5);
        ck_assert_uint_eq(retry.backoff_multiplier_thousandths, i == 8 ? UINT32_MAX : 1);
    }
}

END_TEST

/* Every status by its name. */
START_TEST(service_config_knows_every_status)
{
    for (int status = 1; status < GRPC_STATUS_COUNT; status++) {
        char json[256];

        (void)snprintf(json, sizeof(json),
                       "\"retryPolicy\": {\"maxAttempts\": 2, \"initialBackoff\": \"1s\", "
                       "\"maxBackoff\": \"1s\", \"backoffMultiplier\": 1, "
                       "\"retryableStatusCodes\": [\"%s\"]}",
                       grpc_status_name(status));
        ck_assert_uint_eq(method_of(json).retry.status_mask, 1U << status);
    }
}

END_TEST

static const char *const wrong_members[][3] = {
    {"", "service config", "line 1"},
    {"{", "service config", "not well-formed JSON"},
    {"[]", "service config", "a JSON object"},
    {"{} x", "service config", "end of file"},
    {"{\"a\": 1,\n \"a\": 2}", "service config", "line 2"},
    {"{\"methodConfig\": {}}", "methodConfig:", "list"},
    {"{\"methodConfig\": [1]}", "methodConfig[0]:", "object"},
    {"{\"methodConfig\": [{\"name\": {}}]}", "methodConfig[0].name:", "list"},
    {"{\"methodConfig\": [{\"name\": [{}, 1]}]}", "methodConfig[0].name[1]:", "object"},
    {"{\"methodConfig\": [{\"name\": [{\"service\": 1}]}]}",
     "methodConfig[0].name[0].service:", "users.v1.UserService"},
    {"{\"methodConfig\": [{\"name\": [{\"service\": \"/a.B\"}]}]}",
     "methodConfig[0].name[0].service:", "without slashes"},
    {"{\"methodConfig\": [{\"name\": [{\"service\": \"a\", \"method\": \"b/c\"}]}]}",
     "methodConfig[0].name[0].method:", "GetUser"},
    {"{\"methodConfig\": [{\"name\": [{\"service\": \"a\", \"method\": []}]}]}",
     "methodConfig[0].name[0].method:", "GetUser"},
    {"{\"methodConfig\": [{\"name\": [{\"method\": \"a\"}]}]}",
     "methodConfig[0].name[0].method:", "add service"},
    {"{\"methodConfig\": [{\"name\": [{}]}, {\"name\": [{}]}]}",
     "methodConfig[1].name[0]:", "already, methodConfig[0]"},
    {"{\"methodConfig\": [{\"name\": [{\"service\": \"a\"}]}, {\"name\": [{\"service\": \"b\"},"
     " {\"service\": \"a\", \"method\": \"\"}]}]}",
     "methodConfig[1].name[1]:", "\"a/\" has an entry already, methodConfig[0]"},
    {"{\"methodConfig\": [{\"name\": [{\"service\": \"a\", \"method\": \"b\"}, {\"service\": "
     "\"a\", \"method\": \"b\"}]}]}",
     "methodConfig[0].name[1]:", "\"a/b\" has an entry already"},
    {"{\"methodConfig\": [{\"waitForReady\": 1}]}",
     "methodConfig[0].waitForReady:", "true or false"},
    {"{\"methodConfig\": [{\"maxRequestMessageBytes\": 0}]}",
     "methodConfig[0].maxRequestMessageBytes:", "from 1 to 4294967295"},
    {"{\"methodConfig\": [{\"maxResponseMessageBytes\": 4294967296}]}",
     "methodConfig[0].maxResponseMessageBytes:", "from 1 to 4294967295"},
    {"{\"methodConfig\": [{\"maxResponseMessageBytes\": 1.5}]}",
     "methodConfig[0].maxResponseMessageBytes:", "whole number"},
    {"{\"methodConfig\": [{\"maxResponseMessageBytes\": 1e300}]}",
     "methodConfig[0].maxResponseMessageBytes:", "whole number"},
    {"{\"methodConfig\": [{\"maxResponseMessageBytes\": -1}]}",
     "methodConfig[0].maxResponseMessageBytes:", "whole number"},
    {"{\"methodConfig\": [{\"maxResponseMessageBytes\": \" 1\"}]}",
     "methodConfig[0].maxResponseMessageBytes:", "whole number"},
    {"{\"methodConfig\": [{\"maxResponseMessageBytes\": \"-1\"}]}",
     "methodConfig[0].maxResponseMessageBytes:", "whole number"},
    {"{\"methodConfig\": [{\"maxResponseMessageBytes\": \"1x\"}]}",
     "methodConfig[0].maxResponseMessageBytes:", "whole number"},
    {"{\"methodConfig\": [{\"maxResponseMessageBytes\": \"11111111111\"}]}",
     "methodConfig[0].maxResponseMessageBytes:", "whole number"},
    {"{\"methodConfig\": [{\"hedgingPolicy\": {}}]}",
     "methodConfig[0].hedgingPolicy:", "use retryPolicy"},
    {"{\"methodConfig\": [{\"retryPolicy\": []}]}", "methodConfig[0].retryPolicy:", "object"},
    {"{\"retryThrottling\": []}", "retryThrottling:", "object"},
    {"{\"retryThrottling\": {}}", "retryThrottling:", "are needed"},
    {"{\"retryThrottling\": {\"maxTokens\": 10}}", "retryThrottling:", "are needed"},
    {"{\"retryThrottling\": {\"tokenRatio\": 1}}", "retryThrottling:", "are needed"},
    {"{\"retryThrottling\": {\"maxTokens\": 0, \"tokenRatio\": 1}}",
     "retryThrottling.maxTokens:", "from 1 to 1000"},
    {"{\"retryThrottling\": {\"maxTokens\": 1001, \"tokenRatio\": 1}}",
     "retryThrottling.maxTokens:", "from 1 to 1000"},
    {"{\"retryThrottling\": {\"maxTokens\": 1, \"tokenRatio\": 0}}",
     "retryThrottling.tokenRatio:", "0.001"},
    {"{\"retryThrottling\": {\"maxTokens\": 1, \"tokenRatio\": 0.0009}}",
     "retryThrottling.tokenRatio:", "0.001"},
    {"{\"retryThrottling\": {\"maxTokens\": 1, \"tokenRatio\": -1}}",
     "retryThrottling.tokenRatio:", "0.001"},
    {"{\"retryThrottling\": {\"maxTokens\": 1, \"tokenRatio\": \"1\"}}",
     "retryThrottling.tokenRatio:", "a number"},
    {"{\"loadBalancingConfig\": {}}", "loadBalancingConfig:", "round_robin"},
    {"{\"loadBalancingConfig\": [\"round_robin\"]}", "loadBalancingConfig[0]:", "one policy"},
    {"{\"loadBalancingConfig\": [{}]}", "loadBalancingConfig[0]:", "one policy"},
    {"{\"loadBalancingConfig\": [{\"x\": {}}, {\"round_robin\": 1}]}",
     "loadBalancingConfig[1]:", "one policy"},
    {"{\"loadBalancingConfig\": [{\"round_robin\": {}, \"pick_first\": {}}]}",
     "loadBalancingConfig[0]:", "one policy"},
    {"{\"loadBalancingConfig\": [{\"xds\": {}}, {\"grpclb\": {}}]}",
     "loadBalancingConfig:", "\"xds\"): pick_first and round_robin"},
    {"{\"loadBalancingConfig\": [{\"ROUND_ROBIN\": {}}]}",
     "loadBalancingConfig:", "no policy in it is known"},
    {"{\"loadBalancingPolicy\": \"grpclb\"}", "loadBalancingPolicy:", "round_robin"},
    {"{\"loadBalancingPolicy\": 1}", "loadBalancingPolicy:", "round_robin"},
    {"{\"healthCheckConfig\": []}", "healthCheckConfig:", "object"},
    {"{\"healthCheckConfig\": {\"serviceName\": 1}}", "healthCheckConfig.serviceName:", "text"},
};

/* Each mistake is told with the way to it. */
START_TEST(service_config_refuses_wrong_members)
{
    for (size_t i = 0; i < COUNT_OF(wrong_members); i++) {
        refuse(wrong_members[i][0], wrong_members[i][1], wrong_members[i][2]);
    }
}

END_TEST

/* The same for the members of a retry policy, of which all are needed. */
START_TEST(service_config_refuses_wrong_retry_policies)
{
    static const char *const cases[][3] = {
        {"\"maxAttempts\": 1, \"initialBackoff\": \"1s\", \"maxBackoff\": \"1s\", "
         "\"backoffMultiplier\": 1, \"retryableStatusCodes\": [14]",
         "retryPolicy.maxAttempts:", "2 at least"},
        {"\"maxAttempts\": 0", "retryPolicy.maxAttempts:", "from 1"},
        {"\"maxAttempts\": \"many\"", "retryPolicy.maxAttempts:", "from 1"},
        {"\"maxAttempts\": 2, \"initialBackoff\": \"0s\"",
         "retryPolicy.initialBackoff:", "above 0"},
        {"\"maxAttempts\": 2, \"initialBackoff\": \"1s\", \"maxBackoff\": 1",
         "retryPolicy.maxBackoff:", "text"},
        {"\"maxAttempts\": 2, \"initialBackoff\": \"1s\", \"maxBackoff\": \"1s\", "
         "\"backoffMultiplier\": 0",
         "retryPolicy.backoffMultiplier:", "0.001"},
        {"\"maxAttempts\": 2, \"initialBackoff\": \"1s\", \"maxBackoff\": \"1s\", "
         "\"backoffMultiplier\": \"2\"",
         "retryPolicy.backoffMultiplier:", "a number"},
        {"", "retryPolicy.retryableStatusCodes:", "is needed"},
        {"\"retryableStatusCodes\": []", "retryPolicy.retryableStatusCodes:", "is needed"},
        {"\"retryableStatusCodes\": \"UNAVAILABLE\"", "retryPolicy.retryableStatusCodes:", "list"},
        {"\"retryableStatusCodes\": [14, \"BUSY\"]",
         "retryPolicy.retryableStatusCodes[1]:", "\"BUSY\" is no status"},
        {"\"retryableStatusCodes\": [\"14\"]", "retryPolicy.retryableStatusCodes[0]:", "no status"},
        {"\"retryableStatusCodes\": [17]", "retryPolicy.retryableStatusCodes[0]:", "no status"},
        {"\"retryableStatusCodes\": [-1]", "retryPolicy.retryableStatusCodes[0]:", "no status"},
        {"\"retryableStatusCodes\": [null]", "retryPolicy.retryableStatusCodes[0]:", "no status"},
        {"\"retryableStatusCodes\": [0]", "retryPolicy.retryableStatusCodes[0]:", "OK is no"},
        {"\"retryableStatusCodes\": [\"ok\"]", "retryPolicy.retryableStatusCodes[0]:", "OK is no"},
        {"\"retryableStatusCodes\": [14]", "retryPolicy:", "are needed"},
        {"\"retryableStatusCodes\": [14], \"maxAttempts\": 2, \"initialBackoff\": \"1s\", "
         "\"maxBackoff\": \"1s\"",
         "retryPolicy:", "backoffMultiplier are needed"},
    };
    char json[512];

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        (void)snprintf(json, sizeof(json), "{\"methodConfig\": [{\"retryPolicy\": {%s}}]}",
                       cases[i][0]);
        refuse(json, cases[i][1], cases[i][2]);
        ck_assert_int_eq(strncmp(problem, "methodConfig[0].retryPolicy", 27), 0);
    }
}

END_TEST

/* What a terminal would obey is not repeated, and what is long is cut. */
START_TEST(service_config_problems_are_safe_to_show)
{
    static char json[4000];

    refuse("{\"methodConfig\": [{\"retryPolicy\": {\"retryableStatusCodes\": "
           "[\"\\u001b[2J\"]}}]}",
           "[0]:", "?[2J");
    ck_assert_ptr_null(strchr(problem, 0x1b));
    (void)snprintf(json, sizeof(json), "{\"loadBalancingConfig\": [{\"%03000d\": {}}]}", 0);
    refuse(json, "loadBalancingConfig:", "pick_first and round_robin are");
}

END_TEST

/* The first policy that is known counts; the older member only without the newer. */
START_TEST(service_config_reads_balancing)
{
    static const struct {
        const char *json;
        enum service_config_balancing balancing;
    } cases[] = {
        {"{\"loadBalancingConfig\": [{\"round_robin\": {}}]}", SERVICE_CONFIG_ROUND_ROBIN},
        {"{\"loadBalancingConfig\": [{\"pick_first\": {\"shuffleAddressList\": true}}]}",
         SERVICE_CONFIG_PICK_FIRST},
        {"{\"loadBalancingConfig\": [{\"xds\": {}}, {\"pick_first\": {}}, {\"round_robin\": {}}]}",
         SERVICE_CONFIG_PICK_FIRST},
        {"{\"loadBalancingConfig\": [{\"round_robin\": {}}], \"loadBalancingPolicy\": "
         "\"PICK_FIRST\"}",
         SERVICE_CONFIG_ROUND_ROBIN},
        {"{\"loadBalancingConfig\": [], \"loadBalancingPolicy\": \"PICK_FIRST\"}",
         SERVICE_CONFIG_PICK_FIRST},
        {"{\"loadBalancingPolicy\": \"round_robin\"}", SERVICE_CONFIG_ROUND_ROBIN},
        {"{\"loadBalancingPolicy\": \"ROUND_ROBIN\"}", SERVICE_CONFIG_ROUND_ROBIN},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct service_config *config = parse(cases[i].json);

        ck_assert_msg(service_config_balancing(config) == cases[i].balancing, "%s", cases[i].json);
        service_config_free(config);
    }
}

END_TEST

/* Throttling in thousandths, a fourth digit dropped, more than all tokens no more than that. */
START_TEST(service_config_reads_throttling)
{
    static const struct {
        const char *tokens;
        const char *ratio;
        uint32_t max_thousandths;
        uint32_t ratio_thousandths;
    } cases[] = {
        {"10", "0.1", 10000, 100},     {"1000", "1", 1000000, 1000}, {"1", "0.001", 1000, 1},
        {"1.0", "0.2999", 1000, 299},  {"\"7\"", "0.29", 7000, 290}, {"5", "1.005", 5000, 1005},
        {"5", "1e300", 5000, 1000000}, {"5", "0.0019", 5000, 1},     {"5", "999.999", 5000, 999999},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct service_config *config;
        uint32_t most = 0;
        uint32_t ratio = 0;
        char json[128];

        (void)snprintf(json, sizeof(json),
                       "{\"retryThrottling\": {\"maxTokens\": %s, \"tokenRatio\": %s}}",
                       cases[i].tokens, cases[i].ratio);
        config = parse(json);
        service_config_throttling(config, &most, &ratio);
        ck_assert_uint_eq(most, cases[i].max_thousandths);
        ck_assert_uint_eq(ratio, cases[i].ratio_thousandths);
        service_config_free(config);
    }
}

END_TEST

/* The empty name is that of the whole server, and another thing than none. */
START_TEST(service_config_reads_the_health_service)
{
    struct service_config *config =
        parse("{\"healthCheckConfig\": {\"serviceName\": \"users.v1.UserService\"}}");

    ck_assert_str_eq(service_config_health_service(config), "users.v1.UserService");
    service_config_free(config);
    config = parse("{\"healthCheckConfig\": {\"serviceName\": \"\"}}");
    ck_assert_str_eq(service_config_health_service(config), "");
    service_config_free(config);
}

END_TEST

/* Waits grow by the multiplier up to the most, and lie within a fifth of that. */
START_TEST(service_config_computes_delays)
{
    static const uint64_t waits[] = {100 * MS, 200 * MS, 400 * MS, 500 * MS, 500 * MS};
    struct service_config_retry retry = {
        .max_attempts = 5,
        .initial_backoff_ns = 100 * MS,
        .max_backoff_ns = 500 * MS,
        .backoff_multiplier_thousandths = 2000,
    };

    for (unsigned i = 0; i < COUNT_OF(waits); i++) {
        const uint64_t fifth = waits[i] / 5;
        bool has_upper = false;

        ck_assert_uint_eq(service_config_retry_delay(&retry, i + 2, 0), waits[i] - fifth);
        ck_assert_uint_eq(service_config_retry_delay(&retry, i + 2, fifth), waits[i]);
        ck_assert_uint_eq(service_config_retry_delay(&retry, i + 2, 2 * fifth), waits[i] + fifth);
        ck_assert_uint_eq(service_config_retry_delay(&retry, i + 2, 2 * fifth + 1),
                          waits[i] - fifth);
        for (uint64_t random = 0; random < 1000; random++) {
            uint64_t delay =
                service_config_retry_delay(&retry, i + 2, random * 0x9e3779b97f4a7c15ULL);

            ck_assert_uint_ge(delay, waits[i] - fifth);
            ck_assert_uint_le(delay, waits[i] + fifth);
            has_upper = has_upper || delay > waits[i];
        }
        ck_assert(has_upper);
    }
    ck_assert_uint_le(service_config_retry_delay(&retry, 1000000000, UINT64_MAX), 600 * MS);
    retry.initial_backoff_ns = 900 * MS;
    ck_assert_uint_eq(service_config_retry_delay(&retry, 2, 100 * MS), 500 * MS);
    retry.backoff_multiplier_thousandths = 500;
    retry.max_backoff_ns = 2 * S;
    ck_assert_uint_eq(service_config_retry_delay(&retry, 3, 90 * MS), 450 * MS);
    retry = (struct service_config_retry){.initial_backoff_ns = UINT64_MAX,
                                          .max_backoff_ns = UINT64_MAX,
                                          .backoff_multiplier_thousandths = UINT32_MAX};
    ck_assert_uint_ge(service_config_retry_delay(&retry, 5, 0), UINT64_MAX / 6); /* for ever */
    ck_assert_uint_le(service_config_retry_delay(&retry, 5, UINT64_MAX), UINT64_MAX / 2);
}

END_TEST

/* The example of gRPC's own documentation, whole. */
START_TEST(service_config_reads_a_usual_one)
{
    struct service_config *config =
        parse("{\"loadBalancingConfig\": [{\"round_robin\": {}}],\n"
              " \"methodConfig\": [{\"name\": [{\"service\": \"users.v1.UserService\", \"method\": "
              "\"GetUser\"}], \"timeout\": \"2s\", " RETRY "}],\n"
              " \"retryThrottling\": {\"maxTokens\": 10, \"tokenRatio\": 0.1},\n"
              " \"healthCheckConfig\": {\"serviceName\": \"users.v1.UserService\"}}");
    const struct service_config_method *method =
        service_config_method(config, "/users.v1.UserService/GetUser");

    ck_assert_uint_eq(method->timeout_ns, 2 * S);
    ck_assert_uint_eq(method->retry.max_attempts, 3);
    ck_assert_uint_eq(method->retry.status_mask, 1U << GRPC_STATUS_UNAVAILABLE);
    expect_unset(service_config_method(config, "/users.v1.UserService/DeleteUser"));
    service_config_free(config);
}

END_TEST

UNIT_MAIN("service_config", service_config_may_say_nothing, service_config_finds_the_nearest_entry,
          service_config_keeps_its_limits, service_config_reads_durations,
          service_config_reads_methods, service_config_reads_retry_policies,
          service_config_knows_every_status, service_config_refuses_wrong_members,
          service_config_refuses_wrong_retry_policies, service_config_problems_are_safe_to_show,
          service_config_reads_balancing, service_config_reads_throttling,
          service_config_reads_the_health_service, service_config_computes_delays,
          service_config_reads_a_usual_one)
