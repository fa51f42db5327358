#include "lib/unit.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/process_stats.h"
#include "core/reactor.h"
#include "service/access.h"
#include "service/auth.h"
#include "service/metrics.h"
#include "service/observe.h"
#include "service/overload.h"
#include "service/user_list.h"
#include "service/user_snapshot.h"
#include "service/user_stream.h"
#include "service/user_watch.h"

#include <stdio.h>
#include <string.h>

#define RENDERINGS    200
#define RENDER_NS_MAX (20 * CLOCK_NS_PER_MS) /* a wide berth: other programs run as well */

static const struct grpc_method rows[] = {
    {.path = "/users.v1.UserService/GetUser"},
    {.path = "/users.v1.UserService/WatchUser", .kind = GRPC_METHOD_SERVER_STREAM},
};

static struct reactor reactor;
static struct grpc_method_table methods;
static struct observe *observe;

/* Every source is there, and each of its numbers is another one. */
static struct process_numbers process = {1500000000, 11, 12, 13, 14, 1700000000123};
static struct metrics_tls tls = {"a \"library\"", true, 1900000000, INT64_MAX};
static struct metrics_reload reload = {15, 16, true, 1700000000456};
static struct grpc_server_stats server;
static struct grpc_server_gauges server_now = {20, 21, 22, 23, 24};
static struct grpc_server_stats health_port = {.connections_open = 25, .calls_finished = 26};
static struct auth auth;
static struct token_stats tokens = {30, 31, 32, 33, 34};
static struct access_stats access_counts = {.denied = 40, .streams_ended = 41};
static struct rate_limit_stats rate = {42, 43, 44};
static struct overload_stats overload = {
    .memory_used = 50,
    .memory_max = 51,
    .memory = OVERLOAD_MEMORY_SOFT,
    .delay_ns = 2500000,
    .refused_permille = 125,
    .calls_refused_memory = 52,
    .watchers_refused_memory = 53,
    .calls_refused_delay = 54,
    .trims = 55,
};
static struct health_stats health = {.watchers = 60, .sent = 61, .skipped = 62};
static struct user_watch_stats watch = {.watchers = 63, .sent = 64, .skipped = 65};
static struct user_lister_stats lister = {
    .by_index = 66, .by_walk = 67, .by_scan = 68, .users_examined = 69, .scans_running = 70};
static struct user_streams streams = {.items_done = 71, .items_failed = 72, .retries = 73};
static struct user_snapshot_stats snapshot = {.kept_bytes = 74};
static struct wal_stats wal = {
    .durable_lsn = 80,
    .written_lsn = 81,
    .frames_written = 82,
    .records_written = 83,
    .bytes_written = 84,
    .snapshot_realtime_ns = 1700000000500000000,
    .snapshot_bytes = 85,
    .snapshot_ns = 1250000000,
    .snapshots_done = 86,
    .snapshots_failed = 87,
    .log_bytes = 88,
    .segments = 89,
    .snapshot_is_running = true,
    .pending = 90,
    .pending_bytes = 91,
};
static struct workpool_stats hashing = {92, 93, 94};
static struct histogram hash_times;

static struct metrics_sources make_sources(void)
{
    const struct ring_options options = {.entries = 8};
    char problem[RING_PROBLEM_SIZE];

    ck_assert_int_eq(reactor_init(&reactor, &options, clock_system(), NULL, problem), 0);
    ck_assert_int_eq(grpc_method_table_init(&methods, rows, 2), 0);
    ck_assert_int_eq(observe_new(&methods, NULL, &observe), 0);
    return (struct metrics_sources){
        .observe = observe,
        .process = &process,
        .reactor = &reactor,
        .tls = &tls,
        .reload = &reload,
        .server = &server,
        .server_now = &server_now,
        .health_port = &health_port,
        .auth = &auth,
        .tokens = &tokens,
        .access = &access_counts,
        .rate = &rate,
        .overload = &overload,
        .health = &health,
        .watch = &watch,
        .lister = &lister,
        .streams = &streams,
        .snapshot = &snapshot,
        .wal = &wal,
        .hashing = &hashing,
        .hash_times = &hash_times,
        .state = HEALTH_READ_ONLY,
        .log_state = COMMIT_LOG_DEGRADED,
        .users = 95,
        .users_max = 96,
        .user_bytes = 97,
        .render_ns = 98000,
    };
}

static void done(void)
{
    observe_free(observe);
    grpc_method_table_deinit(&methods);
    reactor_deinit(&reactor);
}

static char *written(const struct metrics_sources *sources, bool open_metrics, struct buf *out)
{
    ck_assert_int_eq(metrics_write(sources, open_metrics, out), 0);
    ck_assert_int_eq(buf_append(out, "", 1), 0);
    return (char *)(uintptr_t)buf_bytes(out).data;
}

static void check_line(const char *text, const char *line)
{
    const char *found = strstr(text, line);

    while (found != NULL && ((found != text && found[-1] != '\n') || found[strlen(line)] != '\n')) {
        found = strstr(found + 1, line);
    }
    ck_assert_msg(found != NULL, "no line \"%s\" in:\n%s", line, text);
}

static void check_lines(const char *text, const char *const *lines, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        check_line(text, lines[i]);
    }
}

#define CHECK_LINES(text, ...)                                                                     \
    check_lines(text, (const char *const[]){__VA_ARGS__},                                          \
                sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

START_TEST(process_and_loop_are_told)
{
    struct metrics_sources sources = make_sources();
    struct buf out = {0};
    struct log log = {.dropped_total = 99};
    const char *text;

    reactor.log = &log;
    text = written(&sources, false, &out);
    CHECK_LINES(text, "userd_log_lines_dropped_total 99", "process_cpu_seconds_total 1.5",
                "process_resident_memory_bytes 11", "process_virtual_memory_bytes 12",
                "process_open_fds 13", "process_max_fds 14",
                "process_start_time_seconds 1700000000.123",
                "userd_build_info{version=\"" USERD_VERSION
                "\",tls_library=\"a \\\"library\\\"\",accelerated=\"yes\"} 1",
                "userd_state{state=\"serving\"} 0", "userd_state{state=\"read_only\"} 1",
                "userd_config_reloads_total{result=\"success\"} 15",
                "userd_config_reloads_total{result=\"failure\"} 16",
                "userd_config_last_reload_successful 0",
                "userd_config_last_reload_success_timestamp_seconds 1700000000.456",
                "userd_loop_turn_seconds_bucket{le=\"1e-06\"} 0",
                "userd_loop_turn_seconds_bucket{le=\"1\"} 0", "userd_ring_pending 0",
                "userd_metrics_render_seconds 0.000098");
    buf_deinit(&out);
    done();
}

END_TEST

START_TEST(connections_are_told)
{
    struct metrics_sources sources = make_sources();
    struct buf out = {0};
    const char *text;

    server.connections_open = 100;
    server.connections_accepted = 101;
    server.connections_refused_by[LIMITS_HIT_HANDSHAKE_RATE] = 102;
    server.connections_refused_draining = 103;
    server.connections_failed = 104;
    server.connections_closed[CONN_END_PEER] = 105;
    server.goaways[GRPC_GOAWAY_MAX_IDLE] = 106;
    server.handshakes = 107;
    server.handshakes_done = 108;
    server.handshakes_failed[CONN_END_TLS] = 109;
    server.calls_running = 110;
    server.calls_refused_by[GRPC_CALL_REFUSAL_STREAMS] = 111;
    server.h2 = (struct h2_stats){112, 113, 114, 115, 116};
    text = written(&sources, false, &out);
    CHECK_LINES(
        text, "userd_connections 100", "userd_connections_accepted_total 101",
        "userd_connections_refused_total{reason=\"limits.handshake_rate\"} 102",
        "userd_connections_refused_total{reason=\"draining\"} 103",
        "userd_connections_failed_total 104", "userd_connections_closed_total{reason=\"peer\"} 105",
        "userd_goaways_sent_total{reason=\"max_idle\"} 106", "userd_tls_handshakes 107",
        "userd_tls_handshakes_done_total 108",
        "userd_tls_handshakes_failed_total{reason=\"tls\"} 109", "userd_calls 110",
        "userd_calls_refused_total{reason=\"http2.max_concurrent_streams\"} 111",
        "userd_resets_received_total 112", "userd_resets_sent_total 113",
        "userd_pings_received_total 114", "userd_ping_strikes_total 115",
        "userd_goaways_received_total 116", "userd_streams 20", "userd_request_buffered_bytes 21",
        "userd_response_unsent_bytes 22", "userd_session_memory_bytes{state=\"used\"} 23",
        "userd_session_memory_bytes{state=\"cached\"} 24",
        "userd_tls_certificate_not_after_seconds 1900000000", "userd_health_port_connections 25",
        "userd_health_port_calls_total 26");
    ck_assert_ptr_null(strstr(text, "\nuserd_tls_crl_not_after_seconds")); /* there is no list */
    buf_deinit(&out);
    done();
}

END_TEST

START_TEST(gates_are_told)
{
    struct metrics_sources sources = make_sources();
    struct buf out = {0};
    const char *text;

    auth.passed = 120;
    auth.anonymous = 121;
    auth.missing = 122;
    auth.refused[TOKEN_EXPIRED] = 123;
    auth.connections_ended = 124;
    auth.passed_by_memo = 125;
    auth.waiting.count = 127;
    reactor.limits_hit.counts[LIMITS_HIT_RATE_WRITE] = 126;
    tls.crl_until_s = 1800000000;
    text = written(&sources, false, &out);
    CHECK_LINES(
        text, "userd_auth_passed_total{by=\"token\"} 120",
        "userd_auth_passed_total{by=\"anonymous\"} 121",
        "userd_auth_refused_total{reason=\"missing\"} 122",
        "userd_auth_refused_total{reason=\"expired\"} 123",
        "userd_auth_connections_ended_total 124", "userd_token_connection_hits_total 125",
        "userd_auth_waiting_calls 127", "userd_token_signatures_checked_total 30",
        "userd_token_cache_hits_total 31", "userd_token_cache_entries 32",
        "userd_token_keys{state=\"in_use\"} 33", "userd_token_keys{state=\"retired\"} 34",
        "userd_access_denied_total 40", "userd_access_streams_ended_total 41",
        "userd_rate_limited_total{class=\"write\"} 126",
        "userd_limit_hits_total{limit=\"rate.write_identity_per_s\"} 126",
        "userd_limit_hits_total{limit=\"limits.max_connections\"} 0",
        "userd_rate_tracked{class=\"identity\"} 42", "userd_rate_tracked{class=\"address\"} 43",
        "userd_memory_used_bytes 50", "userd_memory_limit_bytes 51", "userd_memory_trims_total 55",
        "userd_loop_delay_seconds 0.0025", "userd_overload{cause=\"memory_soft\"} 1",
        "userd_overload{cause=\"memory_hard\"} 0", "userd_overload{cause=\"delay\"} 1",
        "userd_overload_refused_ratio 0.125", "userd_overload_refused_total{cause=\"memory\"} 52",
        "userd_overload_refused_total{cause=\"watchers\"} 53",
        "userd_overload_refused_total{cause=\"delay\"} 54",
        "userd_tls_crl_not_after_seconds 1800000000");
    buf_deinit(&out);
    done();
}

END_TEST

START_TEST(data_is_told)
{
    struct metrics_sources sources = make_sources();
    struct buf out = {0};
    const char *text;

    histogram_add(&wal.sync_ns, 3000000);
    histogram_add(&wal.sync_records, 17);
    histogram_add(&hash_times, 40000000);
    text = written(&sources, false, &out);
    CHECK_LINES(
        text, "userd_wal_durable_lsn 80", "userd_wal_written_lsn 81", "userd_wal_frames_total 82",
        "userd_wal_records_total 83", "userd_wal_written_bytes_total 84",
        "userd_snapshot_last_timestamp_seconds 1700000000.5", "userd_snapshot_last_bytes 85",
        "userd_snapshot_last_duration_seconds 1.25", "userd_snapshots_total{result=\"done\"} 86",
        "userd_snapshots_total{result=\"failed\"} 87", "userd_wal_log_bytes 88",
        "userd_wal_segments 89", "userd_snapshot_running 1", "userd_wal_pending_records 90",
        "userd_wal_pending_bytes 91", "userd_wal_state{state=\"ready\"} 0",
        "userd_wal_state{state=\"degraded\"} 1", "userd_wal_sync_seconds_bucket{le=\"0.002\"} 0",
        "userd_wal_sync_seconds_bucket{le=\"0.005\"} 1",
        "userd_wal_sync_seconds_bucket{le=\"10\"} 1", "userd_wal_sync_seconds_sum 0.003",
        "userd_wal_sync_records_bucket{le=\"10\"} 0", "userd_wal_sync_records_bucket{le=\"20\"} 1",
        "userd_wal_sync_records_bucket{le=\"10000\"} 1", "userd_wal_sync_records_sum 17",
        "userd_hash_queue 92", "userd_hash_running 93", "userd_hash_refused_total 94",
        "userd_hash_seconds_bucket{le=\"0.02\"} 0", "userd_hash_seconds_bucket{le=\"0.05\"} 1",
        "userd_hash_seconds_bucket{le=\"10\"} 1", "userd_users 95", "userd_users_max 96",
        "userd_store_bytes 97", "userd_snapshot_kept_bytes 74",
        "userd_watchers{service=\"health\"} 60", "userd_watchers{service=\"users\"} 63",
        "userd_watch_messages_total{service=\"health\"} 61",
        "userd_watch_messages_total{service=\"users\"} 64",
        "userd_watch_coalesced_total{service=\"health\"} 62",
        "userd_watch_coalesced_total{service=\"users\"} 65",
        "userd_list_requests_total{by=\"index\"} 66", "userd_list_requests_total{by=\"walk\"} 67",
        "userd_list_requests_total{by=\"scan\"} 68", "userd_list_users_examined_total 69",
        "userd_list_scans 70", "userd_stream_items_total{result=\"done\"} 71",
        "userd_stream_items_total{result=\"failed\"} 72", "userd_stream_retries_total 73");
    buf_deinit(&out);
    done();
}

END_TEST

/* A call of so many milliseconds, as dispatch would show it to the stage. */
static void pass(const struct grpc_method *method, uint64_t ms, enum grpc_status status)
{
    const struct grpc_stage stage = observe_stage(observe);
    struct grpc_call_host host = {.reactor = &reactor};
    struct grpc_call call = {.host = &host, .method = method, .status = status};

    call.started_ns = clock_monotonic_ns(clock_system()) - ms * CLOCK_NS_PER_MS;
    ck_assert(stage.begin(stage.context, &call));
    stage.end(stage.context, &call);
}

/* Under both sets of names: a status that did not happen is told as 0 by the one that is complete,
 * and left out by the other. */
START_TEST(calls_are_told_twice)
{
    struct metrics_sources sources = make_sources();
    struct buf out = {0};
    const char *text;

    pass(&methods.methods[0], 20, GRPC_STATUS_OK);
    pass(&methods.methods[0], 200, GRPC_STATUS_NOT_FOUND);
    pass(NULL, 0, GRPC_STATUS_UNIMPLEMENTED);
    text = written(&sources, false, &out);
    CHECK_LINES(
        text, "grpc_requests_total{method=\"/users.v1.UserService/GetUser\",status=\"0\"} 1",
        "grpc_requests_total{method=\"/users.v1.UserService/GetUser\",status=\"5\"} 1",
        "grpc_requests_total{method=\"/users.v1.UserService/WatchUser\",status=\"0\"} 0",
        "grpc_requests_total{method=\"other\",status=\"12\"} 1",
        "grpc_request_duration_ms_bucket{method=\"/users.v1.UserService/GetUser\",le=\"10\"} 0",
        "grpc_request_duration_ms_bucket{method=\"/users.v1.UserService/GetUser\",le=\"5000\"} 2",
        "grpc_request_duration_ms_bucket{method=\"/users.v1.UserService/GetUser\",le=\"+Inf\"} 2",
        "grpc_request_duration_ms_count{method=\"other\"} 1",
        "grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"users.v1.UserService\","
        "grpc_method=\"GetUser\",grpc_code=\"NotFound\"} 1",
        "grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"users.v1.UserService\","
        "grpc_method=\"GetUser\",grpc_code=\"DataLoss\"} 0",
        "grpc_server_handled_total{grpc_type=\"other\",grpc_service=\"other\",grpc_method="
        "\"other\","
        "grpc_code=\"Unimplemented\"} 1",
        "grpc_server_started_total{grpc_type=\"server_stream\","
        "grpc_service=\"users.v1.UserService\",grpc_method=\"WatchUser\"} 0",
        "grpc_server_handling_seconds_bucket{grpc_type=\"unary\","
        "grpc_service=\"users.v1.UserService\",grpc_method=\"GetUser\",le=\"0.01\"} 0",
        "grpc_server_handling_seconds_bucket{grpc_type=\"unary\","
        "grpc_service=\"users.v1.UserService\",grpc_method=\"GetUser\",le=\"100\"} 2",
        "grpc_server_handling_seconds_count{grpc_type=\"unary\","
        "grpc_service=\"users.v1.UserService\",grpc_method=\"GetUser\"} 2");
    ck_assert_ptr_null(strstr(text, "UserService/GetUser\",status=\"13\""));
    buf_deinit(&out);
    done();
}

END_TEST

/* Without a part there is none of it, and what does not depend on it is. */
START_TEST(what_is_not_there_is_not_written)
{
    const struct metrics_sources sources = {0};
    struct buf out = {0};
    const char *text = written(&sources, false, &out);

    ck_assert_ptr_null(strstr(text, "certificate"));
    ck_assert_ptr_null(strstr(text, "userd_connections"));
    ck_assert_ptr_null(strstr(text, "userd_wal_frames"));
    check_line(text, "userd_users 0");
    buf_deinit(&out);
}

END_TEST

/* A name is explained once, before its first value: what scrapers insist on. */
static void check_order(bool open_metrics)
{
    struct metrics_sources sources = make_sources();
    struct buf out = {0};
    char *rest = written(&sources, open_metrics, &out);
    const char *names[300];
    char name[64] = "";
    size_t name_count = 0;
    unsigned values = 0;

    for (char *line = strtok_r(rest, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            ck_assert_int_eq(sscanf(line, "# HELP %63s", name), 1);
            for (size_t i = 0; i < name_count; i++) {
                ck_assert_int_ne(strncmp(names[i], line, 7 + strlen(name) + 1), 0);
            }
            ck_assert_uint_lt(name_count, sizeof(names) / sizeof(names[0]));
            names[name_count++] = line;
        } else if (line[0] == '#') {
            ck_assert(strcmp(line, "# EOF") == 0 || strncmp(line + 7, name, strlen(name)) == 0);
        } else {
            values++;
            ck_assert_msg(strncmp(line, name, strlen(name)) == 0, "%s: %s", name, line);
        }
    }
    ck_assert_uint_gt(values, LIMITS_HIT_COUNT);
    buf_deinit(&out);
    done();
}

START_TEST(every_value_stands_below_its_type)
{
    check_order(false);
    check_order(true);
}

END_TEST

/* The loop waits for it: the least of many times is what it takes when nothing else runs. Printed,
 * and compared with a bound that only a mistake in kind would miss. */
START_TEST(rendering_is_quick)
{
    struct metrics_sources sources = make_sources();
    uint64_t least_ns = UINT64_MAX;
    struct buf out = {0};

    for (unsigned i = 0; i < RENDERINGS; i++) {
        const uint64_t start_ns = clock_monotonic_ns(clock_system());
        uint64_t taken_ns;

        buf_clear(&out);
        ck_assert_int_eq(metrics_write(&sources, false, &out), 0);
        taken_ns = clock_monotonic_ns(clock_system()) - start_ns;
        least_ns = taken_ns < least_ns ? taken_ns : least_ns;
    }
    printf("counts: %zu bytes of metrics for 2 methods in %llu us\n", buf_size(&out),
           (unsigned long long)(least_ns / CLOCK_NS_PER_US));
    ck_assert_uint_lt(least_ns, RENDER_NS_MAX);
    buf_deinit(&out);
    done();
}

END_TEST

UNIT_MAIN("metrics", process_and_loop_are_told, connections_are_told, gates_are_told, data_is_told,
          calls_are_told_twice, what_is_not_there_is_not_written, every_value_stands_below_its_type,
          rendering_is_quick)
