#include "lib/unit.h"

#include "service/app_options.h"
#include "service/config_table.h"

static int load(struct config *config, const char *ini)
{
    struct buf errors = {0};
    int result = config_load_text(config, "test.ini", ini, NULL, &errors);

    buf_deinit(&errors);
    return result;
}

/* Every limit reaches the module it is for: each number of the table is set to a value of its own,
 * and comes out under its own name. */
START_TEST(app_options_carry_every_limit)
{
    static struct config config;
    struct grpc_server_options server;

    ck_assert_int_eq(load(&config, "[tls]\nenabled = false\n[auth]\nmode = none\n"), 0);
    for (unsigned i = 0; i < config_option_count; i++) {
        if (config_options[i].type == CONFIG_TYPE_INT ||
            config_options[i].type == CONFIG_TYPE_SIZE) {
            *(uint64_t *)(void *)((char *)&config + config_options[i].offset) = 1000 + i;
        }
    }
    server = app_options_server(&config);
    ck_assert_uint_eq(server.max_connections, config.limits_max_connections);
    ck_assert_uint_eq(server.max_connections_per_ip, config.limits_max_connections_per_ip);
    ck_assert_uint_eq(server.max_handshakes, config.limits_max_handshakes);
    ck_assert_uint_eq(server.max_message, config.limits_max_message);
    ck_assert_uint_eq(server.max_running, config.limits_max_running);
    ck_assert_uint_eq(server.max_unsent, config.http2_max_unsent);
    ck_assert_uint_eq(server.tls_timeout_ns, config.limits_tls_timeout_ms * 1000000);
    ck_assert_uint_eq(server.preface_timeout_ns, config.limits_preface_timeout_ms * 1000000);
    ck_assert_uint_eq(server.settings_ack_timeout_ns,
                      config.limits_settings_ack_timeout_ms * 1000000);
    ck_assert_uint_eq(server.header_timeout_ns, config.limits_header_timeout_ms * 1000000);
    ck_assert_uint_eq(server.body_progress_ns, config.limits_body_progress_ms * 1000000);
    ck_assert_uint_eq(server.send_timeout_ns, config.limits_send_timeout_ms * 1000000);
    ck_assert_uint_eq(server.linger_timeout_ns, config.limits_linger_timeout_ms * 1000000);
    ck_assert_uint_eq(server.idle_timeout_ns, config.limits_idle_timeout_s * 1000000000);
    ck_assert_uint_eq(server.default_deadline_ns, config.limits_default_deadline_ms * 1000000);
    ck_assert_uint_eq(server.max_deadline_ns, config.limits_max_deadline_ms * 1000000);
    ck_assert_uint_eq(server.max_handshakes_per_ip, config.limits_max_handshakes_per_ip);
    ck_assert_uint_eq(server.handshake_rate, config.limits_handshake_rate);
    ck_assert_uint_eq(server.max_buffered, config.limits_max_buffered);
    ck_assert_uint_eq(server.max_buffered_per_connection,
                      config.limits_max_buffered_per_connection);
    ck_assert_uint_eq(server.max_age_ns, config.limits_max_age_s * 1000000000);
    ck_assert_uint_eq(server.max_age_grace_ns, config.limits_max_age_grace_s * 1000000000);
    ck_assert_uint_eq(server.min_ping_ns, config.keepalive_min_ping_s * 1000000000);
    ck_assert_uint_eq(server.max_ping_strikes, config.keepalive_max_strikes);
    ck_assert(!server.pings_without_calls);
    ck_assert_uint_eq(server.keepalive_ns, config.keepalive_time_s * 1000000000);
    ck_assert_uint_eq(server.keepalive_timeout_ns, config.keepalive_timeout_s * 1000000000);
    ck_assert_int_eq(server.backlog, (int)config.server_backlog);
    ck_assert_uint_eq(server.h2.max_concurrent_streams, config.http2_max_concurrent_streams);
    ck_assert_uint_eq(server.h2.stream_window, config.http2_stream_window);
    ck_assert_uint_eq(server.h2.connection_window, config.http2_connection_window);
    ck_assert_uint_eq(server.h2.max_frame_size, config.http2_max_frame_size);
    ck_assert_uint_eq(server.h2.max_header_list, config.http2_max_header_list);
    ck_assert_uint_eq(server.h2.max_header_list_hard, config.http2_max_header_list_hard);
    ck_assert_uint_eq(server.h2.max_headers, config.http2_max_headers);
    ck_assert_uint_eq(server.h2.max_continuations, config.http2_max_continuations);
    ck_assert_uint_eq(server.h2.reset_burst, config.http2_reset_burst);
    ck_assert_uint_eq(server.h2.reset_rate, config.http2_reset_rate);
    ck_assert_uint_eq(server.h2.control_burst, config.http2_control_burst);
    ck_assert_uint_eq(server.h2.control_rate, config.http2_control_rate);
    ck_assert_uint_eq(server.h2.max_empty_frames, config.http2_max_empty_frames);
    ck_assert_uint_eq(server.h2.max_outq, config.http2_max_outq);
    ck_assert_uint_eq(app_options_health(&config).max_watchers, config.watch_max_health);
    ck_assert_uint_eq(app_options_admin(&config).max_connections, config.admin_max_connections);
    ck_assert_uint_eq(app_options_admin(&config).timeout_ns, config.admin_timeout_s * 1000000000);
    config_deinit(&config);
}

END_TEST

/* The same for log, users and tokens. */
START_TEST(app_options_carry_every_other_number)
{
    static struct config config;
    struct wal_options wal;
    struct user_service_options users;
    struct reflection_options reflection;
    struct token_options token;

    ck_assert_int_eq(load(&config, "[tls]\nenabled = false\n[auth]\nmode = none\nissuer = i\n"
                                   "audience = a\n[password]\nworkers = 3\n"),
                     0);
    ck_assert_uint_eq(app_options_workers(&config), 3);
    config.password_workers = 0;
    ck_assert_uint_ge(app_options_workers(&config), 1);
    ck_assert_uint_le(app_options_workers(&config), 4);
    wal = app_options_wal(&config);
    ck_assert_uint_eq(wal.segment_size, 64 << 20);
    ck_assert_uint_eq(wal.max_pending, 4096);
    ck_assert_uint_eq(wal.max_pending_bytes, 16 << 20);
    ck_assert_uint_eq(wal.max_pending_ns, 250000000);
    ck_assert_uint_eq(wal.min_free_segments, 2);
    ck_assert_uint_eq(wal.sync_interval_ns, 0);
    ck_assert_uint_eq(wal.snapshot_every, 256 << 20);
    ck_assert_uint_eq(wal.snapshot_rate, 64 << 20);
    users = app_options_users(&config);
    ck_assert_uint_eq(users.sync_interval_ms, 0);
    ck_assert_uint_eq(users.snapshot_max_kept, 256 << 20);
    config.wal_sync = CONFIG_WAL_SYNC_INTERVAL;
    ck_assert_uint_eq(app_options_wal(&config).sync_interval_ns, 100000000);
    ck_assert_uint_eq(app_options_users(&config).sync_interval_ms, 100);
    ck_assert_uint_eq(users.max_users, 10000000);
    ck_assert_uint_eq(users.password_memory_kib, 19456);
    ck_assert_uint_eq(users.password_iterations, 2);
    ck_assert_uint_eq(users.password_min_length, 8);
    ck_assert_uint_eq(users.password_max_length, 1024);
    ck_assert_uint_eq(users.max_fields, 256);
    ck_assert_uint_eq(users.streams.max_inflight, 256);
    ck_assert_uint_eq(users.streams.max_hashing, 32); /* half of the queues' lengths */
    ck_assert_uint_eq(users.streams.max_submitted, 2048);
    reflection = app_options_reflection(&config);
    ck_assert_uint_eq(reflection.max_messages, users.streams.max_messages);
    ck_assert_uint_eq(reflection.max_unsent, users.streams.max_unsent);
    ck_assert_uint_eq(reflection.max_fields, 256);
    config.password_queue_max = 1;
    ck_assert_uint_eq(app_options_users(&config).streams.max_hashing, 1);
    token = app_options_token(&config);
    ck_assert_str_eq(token.issuer, "i");
    ck_assert_str_eq(token.audience, "a");
    ck_assert_uint_eq(token.leeway_s, 30);
    ck_assert_uint_eq(token.size_max, 8192);
    ck_assert_uint_eq(token.cache_entries, 16384);
    ck_assert_uint_eq(token.cache_ttl_s, 300);
    config_deinit(&config);
}

END_TEST

/* The same for rates, overload, and what auth and access are told. */
START_TEST(app_options_carry_what_may_connect)
{
    static struct config config;
    struct tls_server_options tls;
    struct rate_limit_options rate;
    struct overload_options overload;
    struct auth auth = {.passed = 3};

    ck_assert_int_eq(
        load(&config,
             "[tls]\ncert_file = c\nkey_file = k\nclient_auth = require\nclient_ca_file = ca\n"
             "crl_file = crl\n[auth]\njwks_file = j\nroles_claim = groups\nkey_overlap_s = 9\n"
             "max_failures = 7\nverifications_per_turn = 11\nanonymous_health = "
             "false\nanonymous_reflection = true\n[rate]\n"
             "identity_per_s = 1\nidentity_burst = 2\nwrite_identity_per_s = 3\n"
             "write_identity_burst = 4\naddress_per_s = 5\naddress_burst = 6\nmax_tracked = 77\n"
             "[overload]\nmemory_max = 1GiB\nsoft = 50\nhard = 60\ntarget_ms = 8\n"
             "interval_ms = 9\n"),
        0);
    tls = app_options_tls(&config);
    ck_assert_int_eq(tls.client_auth, TLS_CLIENT_AUTH_REQUIRE);
    ck_assert_str_eq(tls.client_ca_file, "ca");
    ck_assert_ptr_null(tls.crl_file); /* tls.crl = off */
    config.tls_crl = CONFIG_TLS_CRL_REQUIRE;
    ck_assert_str_eq(app_options_tls(&config).crl_file, "crl");
    ck_assert_str_eq(app_options_token(&config).roles_claim, "groups");
    ck_assert_uint_eq(app_options_token(&config).key_overlap_s, 9);
    rate = app_options_rate(&config);
    ck_assert_uint_eq(rate.identity_per_s, 1);
    ck_assert_uint_eq(rate.identity_burst, 2);
    ck_assert_uint_eq(rate.write_identity_per_s, 3);
    ck_assert_uint_eq(rate.write_identity_burst, 4);
    ck_assert_uint_eq(rate.address_per_s, 5);
    ck_assert_uint_eq(rate.address_burst, 6);
    ck_assert_uint_eq(rate.max_tracked, 77);
    overload = app_options_overload(&config);
    ck_assert_uint_eq(overload.memory_max, 1 << 30);
    ck_assert_uint_eq(overload.soft, 50);
    ck_assert_uint_eq(overload.hard, 60);
    ck_assert_uint_eq(overload.target_ns, 8000000);
    ck_assert_uint_eq(overload.interval_ns, 9000000);
    app_options_auth(&config, &auth);
    ck_assert_uint_eq(auth.max_failures, 7);
    ck_assert_uint_eq(auth.waiting.per_turn, 11);
    ck_assert(!auth.anonymous_health);
    ck_assert(auth.anonymous_reflection);
    ck_assert_uint_eq(auth.passed, 3);
    ck_assert(!app_options_access(&config).anonymous_health);
    ck_assert(app_options_access(&config).anonymous_reflection);
    config_deinit(&config);
}

END_TEST

/* Probes get less than calls, and their own limit on connections. */
START_TEST(app_options_are_small_for_probes)
{
    static struct config config;
    struct grpc_server_options main_port;
    struct grpc_server_options probes;

    ck_assert_int_eq(load(&config, "[tls]\nenabled = false\n[auth]\nmode = none\n"
                                   "[health]\nmax_connections = 7\n[limits]\n"
                                   "idle_timeout_s = 77\nmax_age_s = 88\n"),
                     0);
    main_port = app_options_server(&config);
    probes = app_options_health_port(&config);
    ck_assert_uint_eq(probes.max_connections, 7);
    ck_assert_int_eq(probes.max_connections_reason, LIMITS_HIT_HEALTH_CONNECTIONS);
    ck_assert_int_eq(main_port.max_connections_reason, LIMITS_HIT_CONNECTIONS);
    ck_assert_uint_eq(probes.idle_timeout_ns, main_port.idle_timeout_ns);
    ck_assert_uint_ne(main_port.max_age_ns, 0);
    ck_assert_uint_eq(probes.max_age_ns, 0);
    ck_assert_uint_lt(probes.max_message, main_port.max_message);
    ck_assert_uint_lt(probes.max_buffered, main_port.max_buffered);
    ck_assert_uint_lt(probes.h2.max_concurrent_streams, main_port.h2.max_concurrent_streams);
    ck_assert_uint_eq(probes.h2.reset_burst, main_port.h2.reset_burst);
    config_deinit(&config);
}

END_TEST

UNIT_MAIN("app_options", app_options_are_small_for_probes, app_options_carry_every_limit,
          app_options_carry_every_other_number, app_options_carry_what_may_connect)
