#include "lib/unit.h"

#include "service/config_diff.h"
#include "service/config_table.h"

#include <stdio.h>

#define OPEN "[tls]\nenabled = false\n[auth]\nmode = none\n"

static struct config old;
static struct config fresh;
static struct config_diff diff;

static void load(struct config *config, const char *ini)
{
    struct buf errors = {0};

    config_deinit(config);
    ck_assert_int_eq(config_load_text(config, "test.ini", ini, NULL, &errors), 0);
    buf_deinit(&errors);
}

static void compare(const char *before, const char *after)
{
    load(&old, before);
    load(&fresh, after);
    config_diff(&old, &fresh, &diff);
}

static void done(void)
{
    config_deinit(&old);
    config_deinit(&fresh);
}

static void assert_named(const char *taken, const char *kept)
{
    char names[512];

    config_diff_name(&diff, true, names, sizeof(names));
    ck_assert_str_eq(names, taken);
    config_diff_name(&diff, false, names, sizeof(names));
    ck_assert_str_eq(names, kept);
}

/* What is written otherwise but means the same is no change. */
START_TEST(config_diff_sees_no_change)
{
    compare(OPEN "[limits]\nmax_message = 65536\n",
            OPEN "[limits]\n; moved\nmax_message = 64KiB\n[log]\nlevel = info\n");
    ck_assert_uint_eq(diff.taken, 0);
    ck_assert_uint_eq(diff.kept, 0);
    ck_assert(!diff.policy);
    ck_assert(!config_diff_touches(&diff, "limits"));
    assert_named("", "");
    done();
}

END_TEST

/* Each type of option is compared by its value. */
START_TEST(config_diff_names_what_changed)
{
    compare(OPEN "[server]\nlisten = 127.0.0.1:1\n",
            OPEN "[server]\nlisten = 127.0.0.1:1, 127.0.0.1:2\nbacklog = 5\n[limits]\n"
                 "max_running = 7\n[http2]\ncompress_replies = true\n[log]\nlevel = warn\n");
    ck_assert_uint_eq(diff.taken, 3);
    ck_assert_uint_eq(diff.kept, 2);
    assert_named("limits.max_running, http2.compress_replies, log.level",
                 "server.listen, server.backlog");
    ck_assert(config_diff_touches(&diff, "log"));
    ck_assert(!config_diff_touches(&diff, "server")); /* not what can be taken now */
    ck_assert(!config_diff_touches(&diff, "tls"));
    compare(OPEN "[server]\nlisten = 127.0.0.1:1\n", OPEN "[server]\nlisten = 127.0.0.1:2\n");
    assert_named("", "server.listen");
    compare(OPEN, "[tls]\nenabled = false\ncert_file = a\n[auth]\nmode = none\njwks_file = "
                  "b\ncache_entries = 3\n");
    assert_named("tls.cert_file, auth.jwks_file", "auth.cache_entries");
    done();
}

END_TEST

/* Every option of the table is seen when it alone changes, and named on its own side. */
START_TEST(config_diff_sees_every_option)
{
    for (unsigned i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        char name[128];
        char seen[256];

        load(&old, OPEN);
        load(&fresh, OPEN);
        if (option->type == CONFIG_TYPE_INT || option->type == CONFIG_TYPE_SIZE) {
            *(uint64_t *)(void *)((char *)&fresh + option->offset) += 1;
        } else if (option->type == CONFIG_TYPE_ENUM) {
            *(unsigned *)(void *)((char *)&fresh + option->offset) += 1;
        } else if (option->type == CONFIG_TYPE_BOOL) {
            bool *field = (bool *)((char *)&fresh + option->offset);

            *field = !*field;
        } else if (option->type == CONFIG_TYPE_ADDRESSES) {
            fresh.server_listen.items[0][0]++;
        } else {
            char **field = (char **)(void *)((char *)&fresh + option->offset);

            free(*field);
            *field = strdup("another");
            ck_assert_ptr_nonnull(*field);
        }
        config_diff(&old, &fresh, &diff);
        ck_assert_uint_eq(diff.taken, option->reloadable ? 1 : 0);
        ck_assert_uint_eq(diff.kept, option->reloadable ? 0 : 1);
        (void)snprintf(name, sizeof(name), "%s.%s", option->section, option->key);
        config_diff_name(&diff, option->reloadable, seen, sizeof(seen));
        ck_assert_str_eq(seen, name);
    }
    done();
}

END_TEST

/* The rules of the policy are compared by what they say, not by where they stand. */
START_TEST(config_diff_compares_policies)
{
    static const char *const others[] = {
        "",
        "allow /users.v1.UserService/GetUser = role:x, role:y\n",
        "allow /users.v1.UserService/GetUser = role:x\nallow /users.v1.UserService/* = *\n",
        "deny /users.v1.UserService/GetUser = role:x\n",
        "allow /users.v1.UserService/* = role:x\n",
        "allow /users.v1.UserService/GetUser = role:y\n",
        "allow /users.v1.UserService/GetUser = scope:x\n",
        "allow /users.v1.UserService/GetUser = *\n",
    };
    char text[256];

    compare(OPEN "[policy]\nallow /users.v1.UserService/GetUser = role:x\n",
            OPEN "\n[policy]\nallow /users.v1.UserService/GetUser=role:x\n");
    ck_assert(!diff.policy);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        (void)snprintf(text, sizeof(text), OPEN "[policy]\n%s", others[i]);
        compare(OPEN "[policy]\nallow /users.v1.UserService/GetUser = role:x\n", text);
        ck_assert_msg(diff.policy, "%s", others[i]);
        assert_named("policy", "");
    }
    done();
}

END_TEST

/* A list of names that does not fit is cut behind a whole name. */
START_TEST(config_diff_cuts_long_lists)
{
    char names[48];

    compare(OPEN, OPEN "[limits]\nmax_running = 7\nmax_connections = 5\nmax_handshakes = 3\n");
    config_diff_name(&diff, true, names, sizeof(names));
    ck_assert_str_eq(names, "limits.max_connections, ...");
    config_diff_name(&diff, true, names, 8);
    ck_assert_str_eq(names, "...");
    done();
}

END_TEST

static int line_of(const struct config *config, const char *section, const char *key)
{
    return config->origins[config_option_find(section, key) - config_options].line;
}

/* What is in force after a reload: the new values that can be taken, and the old ones of the rest,
 * with their origins. The next comparison with the same file names the rest again. */
START_TEST(config_diff_takes_what_needs_no_restart)
{
    static const char later[] = OPEN "[log]\nlevel = error\n[server]\nlisten = 127.0.0.1:2, "
                                     "127.0.0.1:3\n[policy]\nallow /* = role:x\n";

    compare(OPEN "[server]\nbacklog = 5\nlisten = 127.0.0.1:1\n[log]\nlevel = warn\n", later);
    config_diff_take(&old, &fresh);
    ck_assert_uint_eq(old.server_listen.count, 1);
    ck_assert_str_eq(old.server_listen.items[0], "127.0.0.1:1");
    ck_assert_uint_eq(old.server_backlog, 5);
    ck_assert_int_eq(line_of(&old, "server", "backlog"), 6);
    ck_assert_uint_eq(old.log_level, 3);
    ck_assert_int_eq(line_of(&old, "log", "level"), 6);
    ck_assert_uint_eq(old.policy.count, 1);
    ck_assert_uint_eq(fresh.log_level, 2);
    ck_assert_uint_eq(fresh.policy.count, 0);
    load(&fresh, later);
    config_diff(&old, &fresh, &diff);
    assert_named("", "server.listen, server.backlog");
    done();
}

END_TEST

UNIT_MAIN("config_diff", config_diff_sees_no_change, config_diff_names_what_changed,
          config_diff_sees_every_option, config_diff_compares_policies, config_diff_cuts_long_lists,
          config_diff_takes_what_needs_no_restart)
