#include "lib/unit.h"

#include "../tools/userctl_arguments.h"
#include "../tools/userctl_config.h"
#include "../tools/userctl_terminal.h"
#include "../tools/userctl_time.h"

#include <getopt.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH "/home/ada/.config/userctl.ini"

static const char good[] = "; servers\n"
                           "[default]\n"
                           "target = production\n"
                           "[target production]\n"
                           "target = dns:///users.example:50051\n"
                           "ca = users-ca.pem\n"
                           "token_file = ~/token\n"
                           "lb = round_robin\n"
                           "deadline = 10s\n"
                           "[target dev_1.x-y]\n"
                           "target = localhost:50051\n"
                           "plaintext = yes\n";

START_TEST(config_is_read)
{
    char problem[USERCTL_CONFIG_PROBLEM_SIZE];
    const struct userctl_config_target *target;
    struct userctl_config config;

    ck_assert_int_eq(setenv("HOME", "/home/ada", 1), 0);
    ck_assert_int_eq(userctl_config_parse(good, PATH, problem, &config), 0);
    ck_assert_uint_eq(config.count, 2);
    ck_assert_str_eq(config.default_target, "production");
    ck_assert_int_eq(userctl_config_find(&config, "production", problem, &target), 0);
    ck_assert_str_eq(target->target, "dns:///users.example:50051");
    ck_assert_str_eq(target->ca_file, "/home/ada/.config/users-ca.pem");
    ck_assert_str_eq(target->token_file, "/home/ada/token");
    ck_assert_str_eq(target->balancing, "round_robin");
    ck_assert_uint_eq(target->deadline_ns, 10000000000u);
    ck_assert(!target->plaintext);
    ck_assert_int_eq(userctl_config_find(&config, "dev_1.x-y", problem, &target), 0);
    ck_assert(target->plaintext);
    ck_assert_ptr_null(target->ca_file);
    ck_assert_int_eq(userctl_config_find(&config, "prodution", problem, &target),
                     USERCTL_CONFIG_E_BAD);
    ck_assert_str_eq(problem,
                     "there is no target 'prodution' in " PATH "; did you mean 'production'?");
    userctl_config_deinit(&config);
}

END_TEST

/* Each is refused with file, line, and what is meant when that can be told. */
static const struct {
    const char *text;
    const char *problem;
} mistakes[] = {
    {"[target a]\ntarget = a:1\ntokenfile = x\n",
     PATH ":3: there is no key 'tokenfile'; did you mean 'token_file'?"},
    {"[target a]\nshoe = 44\n", PATH ":2: there is no key 'shoe'"},
    {"[targt a]\ntarget = a:1\n", PATH ":2: there is no section [targt a], only"},
    {"[defualt]\ntarget = a\n", PATH ":2: there is no section [defualt], only [target NAME] and "
                                     "[default]; did you mean 'default'?"},
    {"target = a\n", PATH ":1: 'target' stands in no section"},
    {"[default]\nca = a\n", PATH ":2: there is no key 'ca' in [default]"},
    {"[default]\ntarget = a\n", PATH ":2: there is no target 'a'"},
    {"[target a]\n", PATH ":1: [target a] has no 'target'"},
    {"; none\n[target a]\n\n# none either\n[target b]\ntarget = b:1\n",
     PATH ":2: [target a] has no 'target'"},
    {"[target a]\nplaintext = yes\n", PATH ":2: [target a] has no 'target'"},
    {"[target a]\ntarget = a:1\nplaintext = maybe\n", PATH ":3: plaintext is yes or no"},
    {"[target a]\ntarget = a:1\ndeadline = soon\n", PATH ":3: 'soon' is no time such as"},
    {"[target a]\ntarget = a:1\nlb = random\n", PATH ":3: lb is round_robin or pick_first"},
    {"[target a]\ntarget = a:1\ntarget = b:1\n", PATH ":3: 'target' is there twice"},
    {"[target a]\ntarget = a:1\n[target b]\ntarget = b:1\n[target a]\nca = x\n",
     PATH ":6: [target a] is there twice, first at line 2"},
    {"[target a b]\ntarget = a:1\n", PATH ":2: a target's name is made of letters"},
    {"[target ]\ntarget = a:1\n", PATH ":2: "},
    {"[target a]\ntarget =\n", PATH ":2: 'target' has no value"},
    {"[target a]\nnonsense\n", PATH ":2: this is neither a [section] nor KEY = VALUE"},
};

START_TEST(config_mistakes_are_told)
{
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        char problem[USERCTL_CONFIG_PROBLEM_SIZE] = "nothing";
        struct userctl_config config;

        ck_assert_msg(userctl_config_parse(mistakes[i].text, PATH, problem, &config) ==
                          USERCTL_CONFIG_E_BAD,
                      "%s is taken", mistakes[i].text);
        ck_assert_msg(strncmp(problem, mistakes[i].problem, strlen(mistakes[i].problem)) == 0,
                      "%s:\n  %s, expected\n  %s", mistakes[i].text, problem, mistakes[i].problem);
        userctl_config_deinit(&config);
    }
}

END_TEST

START_TEST(config_has_a_limit_of_targets)
{
    char problem[USERCTL_CONFIG_PROBLEM_SIZE];
    struct userctl_config config;
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    for (int i = 0; i <= USERCTL_CONFIG_TARGETS_MAX; i++) {
        (void)fprintf(file, "[target t%d]\ntarget = a:1\n", i);
    }
    (void)fclose(file);
    ck_assert_int_eq(userctl_config_parse(text, PATH, problem, &config), USERCTL_CONFIG_E_BAD);
    ck_assert_ptr_nonnull(strstr(problem, "more than 256 targets"));
    userctl_config_deinit(&config);
    free(text);
}

END_TEST

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    (void)fputs(text, file);
    (void)fclose(file);
    ck_assert_int_eq(chmod(path, mode), 0);
}

/* Secrets that everybody may read are refused, as is a file that everybody may change. */
START_TEST(config_guards_secrets)
{
    char folder[] = "/tmp/userctl-config-XXXXXX";
    char problem[USERCTL_CONFIG_PROBLEM_SIZE];
    const struct userctl_config_target *target;
    struct userctl_config config;

    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    write_file("token", "x\n", 0604);
    write_file("userctl.ini", "[target a]\ntarget = a:1\ntoken_file = token\n", 0644);
    ck_assert_int_eq(userctl_config_read("./userctl.ini", true, problem, &config), 0);
    ck_assert_int_eq(userctl_config_find(&config, "a", problem, &target), USERCTL_CONFIG_E_BAD);
    ck_assert_ptr_nonnull(strstr(problem, "./token as a 'token_file', which everybody may read"));
    ck_assert_int_eq(chmod("token", 0640), 0);
    ck_assert_int_eq(userctl_config_find(&config, "a", problem, &target), 0);
    userctl_config_deinit(&config);
    ck_assert_int_eq(chmod("userctl.ini", 0646), 0);
    ck_assert_int_eq(userctl_config_read("./userctl.ini", true, problem, &config),
                     USERCTL_CONFIG_E_BAD);
    ck_assert_ptr_nonnull(strstr(problem, "can be written by everybody"));
    userctl_config_deinit(&config);
    ck_assert_int_eq(userctl_config_read("./none.ini", true, problem, &config),
                     USERCTL_CONFIG_E_BAD);
    userctl_config_deinit(&config);
    ck_assert_int_eq(userctl_config_read("./none.ini", false, problem, &config), 0);
    ck_assert_uint_eq(config.count, 0);
    userctl_config_deinit(&config);
    /* A home that is no folder, as that of daemons, has none. */
    ck_assert_int_eq(userctl_config_read("/dev/null/userctl.ini", false, problem, &config), 0);
    ck_assert_str_eq(problem, "");
    userctl_config_deinit(&config);
    ck_assert_int_eq(userctl_config_read("/dev/null/userctl.ini", true, problem, &config),
                     USERCTL_CONFIG_E_BAD);
    userctl_config_deinit(&config);
    (void)unlink("token");
    (void)unlink("userctl.ini");
    ck_assert_int_eq(rmdir(folder), 0);
}

END_TEST

START_TEST(config_is_found_by_the_environment)
{
    char *path;

    ck_assert_int_eq(setenv("HOME", "/home/ada", 1), 0);
    ck_assert_int_eq(setenv("XDG_CONFIG_HOME", "/elsewhere", 1), 0);
    path = userctl_config_default_path();
    ck_assert_str_eq(path, "/elsewhere/userctl.ini");
    free(path);
    ck_assert_int_eq(unsetenv("XDG_CONFIG_HOME"), 0);
    path = userctl_config_default_path();
    ck_assert_str_eq(path, "/home/ada/.config/userctl.ini");
    free(path);
    ck_assert_int_eq(unsetenv("HOME"), 0);
    ck_assert_ptr_null(userctl_config_default_path());
}

END_TEST

/* Reads a command line: words with blanks between, which stay as long as the arguments do. */
static int read_line(const char *line, struct userctl_arguments *arguments)
{
    static char text[256];
    static char *words[16];
    char *rest = NULL;
    int count = 0;

    (void)snprintf(text, sizeof(text), "userctl %s", line);
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        words[count++] = word;
    }
    words[count] = NULL;
    optind = 0; /* getopt begins anew */
    return userctl_arguments_read(count, words, arguments);
}

/* Options win over all; --on over the environment; the default target counts when nobody names a
 * server, and nothing of it is told to another. */
START_TEST(options_environment_and_configuration_in_their_order)
{
    char folder[] = "/tmp/userctl-config-XXXXXX";
    char path[64];
    struct userctl_arguments arguments;

    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/c.ini", folder);
    write_file(path,
               "[default]\ntarget = one\n[target one]\ntarget = one:1\nca = /one.pem\n"
               "token_file = /one.token\ndeadline = 7s\n[target two]\ntarget = two:1\n"
               "plaintext = yes\nlb = pick_first\n",
               0600);
    ck_assert_int_eq(setenv("USERCTL_CONFIG", path, 1), 0);
    (void)unsetenv("USERCTL_TARGET");
    (void)unsetenv("USERCTL_CA");
    (void)unsetenv("USERCTL_TOKEN_FILE");
    ck_assert_int_eq(read_line("get x", &arguments), 0);
    ck_assert_str_eq(arguments.target, "one:1");
    ck_assert_str_eq(arguments.token_file, "/one.token");
    ck_assert_uint_eq(arguments.deadline_ns, 7000000000u);
    userctl_arguments_deinit(&arguments);
    ck_assert_int_eq(read_line("get x --target x:1", &arguments), 0);
    ck_assert_str_eq(arguments.target, "x:1");
    ck_assert_ptr_null(arguments.token_file);
    ck_assert_uint_eq(arguments.deadline_ns, 5000000000u);
    userctl_arguments_deinit(&arguments);
    ck_assert_int_eq(setenv("USERCTL_TARGET", "env:1", 1), 0);
    ck_assert_int_eq(setenv("USERCTL_CA", "/env.pem", 1), 0);
    ck_assert_int_eq(read_line("get x", &arguments), 0);
    ck_assert_str_eq(arguments.target, "env:1");
    ck_assert_str_eq(arguments.ca_file, "/env.pem");
    ck_assert_ptr_null(arguments.token_file);
    userctl_arguments_deinit(&arguments);
    ck_assert_int_eq(read_line("get x --on one --token t", &arguments), 0);
    ck_assert_str_eq(arguments.target, "one:1");
    ck_assert_str_eq(arguments.ca_file, "/one.pem");
    ck_assert_ptr_null(arguments.token_file);
    userctl_arguments_deinit(&arguments);
    /* The environment speaks of its own server: nothing of it goes to one that --on names. */
    ck_assert_int_eq(setenv("USERCTL_TOKEN_FILE", "/env.token", 1), 0);
    ck_assert_int_eq(read_line("get x --on two", &arguments), 0);
    ck_assert_ptr_null(arguments.token_file);
    ck_assert_str_ne(arguments.ca_file, "/env.pem");
    ck_assert(arguments.plaintext);
    userctl_arguments_deinit(&arguments);
    ck_assert_int_eq(read_line("get x --on one", &arguments), 0);
    ck_assert_str_eq(arguments.token_file, "/one.token");
    ck_assert(!arguments.token_is_of_environment);
    userctl_arguments_deinit(&arguments);
    ck_assert_int_ne(read_line("get x --on one --target x:1", &arguments), 0);
    userctl_arguments_deinit(&arguments);
    ck_assert_int_eq(read_line("get x", &arguments), 0);
    ck_assert_str_eq(arguments.token_file, "/env.token");
    ck_assert(arguments.token_is_of_environment);
    userctl_arguments_deinit(&arguments);
    ck_assert_int_eq(read_line("--on=two get x --lb round_robin", &arguments), 0);
    ck_assert_str_eq(arguments.target, "two:1");
    ck_assert_str_eq(arguments.balancing, "round_robin");
    ck_assert(arguments.plaintext);
    userctl_arguments_deinit(&arguments);
    ck_assert_int_ne(read_line("get x --on three", &arguments), 0);
    userctl_arguments_deinit(&arguments);
    ck_assert_int_ne(read_line("get x --lb best", &arguments), 0);
    userctl_arguments_deinit(&arguments);
    (void)unlink(path);
    (void)rmdir(folder);
}

END_TEST

static void check_line(const char *line, bool is_good)
{
    struct userctl_arguments arguments;
    int ret = read_line(line, &arguments);

    ck_assert_msg((ret == 0) == is_good, "%s: %d", line, ret);
    userctl_arguments_deinit(&arguments);
}

/* What contradicts itself, or would be taken in silence. */
START_TEST(options_that_do_not_go_together_are_refused)
{
    check_line("get x --plaintext", true);
    check_line("get x --plaintext --ca f", false);
    check_line("get x --plaintext --cert f --key f", false);
    check_line("get x --deadline 1s --deadline 2s", false);
    check_line("token --ttl 1s --ttl 2s", false);
    check_line("token --ttl 213504d", false);
    check_line("list --page-size 1 --page-size 1", false);
    check_line("get x --json=yes", false);
    check_line("get x --tokne=secret", false);
    check_line("get x --target", false);
    check_line("get x -t", false);
    check_line("get x --tok t", false); /* may be --token-file too */
}

END_TEST

/* The deadline of a target is for calls with one answer; that of the command line for all. And the
 * CA of the environment takes no target's plain text away. */
START_TEST(targets_say_how_long_and_how)
{
    char folder[] = "/tmp/userctl-config-XXXXXX";
    char path[64];
    struct userctl_arguments arguments;

    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/c.ini", folder);
    write_file(path,
               "[default]\ntarget = a\n[target a]\ntarget = a:1\nplaintext = yes\n"
               "deadline = 7s\n",
               0600);
    ck_assert_int_eq(setenv("USERCTL_CONFIG", path, 1), 0);
    ck_assert_int_eq(setenv("USERCTL_CA", "/env.pem", 1), 0);
    (void)unsetenv("USERCTL_TARGET");
    ck_assert_int_eq(read_line("call a.B/C", &arguments), 0);
    ck_assert(arguments.plaintext);
    ck_assert_uint_eq(arguments.deadline_ns, 0);
    ck_assert_uint_eq(arguments.unary_deadline_ns, 7000000000u);
    userctl_arguments_deinit(&arguments);
    ck_assert_int_eq(read_line("call a.B/C --deadline 2s", &arguments), 0);
    ck_assert_uint_eq(arguments.deadline_ns, 2000000000u);
    userctl_arguments_deinit(&arguments);
    ck_assert_int_eq(read_line("call a.B/C --target b:1", &arguments), 0);
    ck_assert_uint_eq(arguments.unary_deadline_ns, 5000000000u);
    ck_assert(!arguments.plaintext);
    userctl_arguments_deinit(&arguments);
    ck_assert_int_eq(read_line("watch x", &arguments), 0);
    ck_assert(arguments.deadline_ns == USERCTL_NO_DEADLINE);
    userctl_arguments_deinit(&arguments);
    (void)unsetenv("USERCTL_CONFIG");
    (void)unsetenv("USERCTL_CA");
    (void)unlink(path);
    (void)rmdir(folder);
}

END_TEST

START_TEST(spans_are_parsed)
{
    uint64_t ns = 0;

    ck_assert(userctl_span_parse("500ms", &ns) && ns == 500000000u);
    ck_assert(userctl_span_parse("2h", &ns) && ns == 7200000000000u);
    ck_assert(!userctl_span_parse("0s", &ns));
    ck_assert(!userctl_span_parse("5", &ns));
    ck_assert(!userctl_span_parse("-5s", &ns));
    ck_assert(!userctl_span_parse("1234567s", &ns));
    ck_assert(userctl_span_parse("213503d", &ns) && ns == 213503u * 86400000000000u);
    ck_assert(!userctl_span_parse("213504d", &ns)); /* over 64 bits */
    ck_assert(!userctl_span_parse("", &ns));
}

END_TEST

START_TEST(colors_are_for_terminals)
{
    ck_assert(userctl_terminal_wants_color("auto", true, NULL, "xterm"));
    ck_assert(userctl_terminal_wants_color("auto", true, "", "xterm"));
    ck_assert(!userctl_terminal_wants_color("auto", false, NULL, "xterm"));
    ck_assert(!userctl_terminal_wants_color("auto", true, "1", "xterm"));
    ck_assert(!userctl_terminal_wants_color("auto", true, NULL, "dumb"));
    ck_assert(!userctl_terminal_wants_color("auto", true, NULL, NULL));
    ck_assert(userctl_terminal_wants_color("always", false, "1", "dumb"));
    ck_assert(!userctl_terminal_wants_color("never", true, NULL, "xterm"));
}

END_TEST

START_TEST(columns_fit_the_terminal)
{
    static const int least[] = {8, 8, 5};
    int columns[] = {10, 40, 20};

    userctl_terminal_fit(columns, least, 3, 0);
    ck_assert_int_eq(columns[1], 40);
    userctl_terminal_fit(columns, least, 3, 50);
    ck_assert_int_eq(columns[0], 10);
    ck_assert_int_eq(columns[0] + columns[1] + columns[2], 50);
    ck_assert_int_le(columns[1] - columns[2], 1);
    userctl_terminal_fit(columns, least, 3, 1);
    ck_assert_int_eq(columns[0], 8);
    ck_assert_int_eq(columns[1], 8);
    ck_assert_int_eq(columns[2], 5);
}

END_TEST

UNIT_MAIN("userctl_config", config_is_read, config_mistakes_are_told, config_has_a_limit_of_targets,
          config_guards_secrets, config_is_found_by_the_environment,
          options_environment_and_configuration_in_their_order,
          options_that_do_not_go_together_are_refused, targets_say_how_long_and_how,
          spans_are_parsed, colors_are_for_terminals, columns_fit_the_terminal)
