#include "core/buf.h"
#include "core/tls.h"
#include "service/app.h"
#include "service/config.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct arguments {
    const char *config_file; /* NULL = defaults and environment only */
    bool check;
    bool print_config;
    bool print_options;
    bool version;
    bool help;
};

static void print_usage(FILE *out)
{
    (void)fputs(
        "Usage: userd [--config FILE] [--check | --print-config]\n"
        "       userd --print-options | --version | --help\n"
        "\n"
        "Serves users.v1.UserService until SIGTERM or SIGINT.\n"
        "\n"
        "  --config FILE    the configuration, INI; without it defaults and environment count\n"
        "  --check          say what is wrong with configuration, certificate and secret,\n"
        "                   and start nothing\n"
        "  --print-config   show every effective value and where it came from\n"
        "  --print-options  show a table of all options, for programs: tabs between option, type,\n"
        "                   default, range, unit, when a change is taken, and meaning\n"
        "  --version        show the version, the licence and the libraries\n"
        "  --help           show this\n"
        "\n"
        "Every option can be set in the environment: server.listen as USERD_SERVER_LISTEN.\n"
        "\n"
        "Exit codes: 0 clean end, 64 wrong usage, 65 damaged data, 70 internal fault,\n"
        "74 disk failure, 75 data in use by another process, 78 wrong configuration or a\n"
        "system that forbids io_uring.\n",
        out);
}

static void print_version(void)
{
    (void)printf("userd " USERD_VERSION "\n"
                 "License GPL-2.0-or-later: wolfSSL, which it contains, asks for that.\n"
                 "TLS: %s\n"
                 "Libraries:\n"
                 "  wolfSSL        GPL-2.0-or-later\n"
                 "  liburing       LGPL-2.1-or-later or MIT\n"
                 "  nghttp2        MIT\n"
                 "  protobuf-c     BSD-2-Clause\n"
                 "  libsodium      ISC\n"
                 "  libjwt         MPL-2.0, with libcrypto of OpenSSL (Apache-2.0)\n"
                 "  jansson        MIT\n"
                 "  inih           BSD-3-Clause\n"
                 "  libmicrohttpd  LGPL-2.1-or-later, with GnuTLS (LGPL-2.1-or-later)\n"
                 "  utf8proc       MIT\n"
                 "  zlib           Zlib\n"
                 "  glibc          LGPL-2.1-or-later\n",
                 tls_library());
}

static int usage_error(const char *what, const char *which)
{
    (void)fprintf(stderr, "userd: %s%s\n", what, which);
    (void)fputs("Try: userd --help\n", stderr);
    return EX_USAGE;
}

/* Returns EX_OK or EX_USAGE, which it has explained. */
static int parse_arguments(int count, char **words, struct arguments *arguments)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, 'k'},
        {"print-config", no_argument, NULL, 'p'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {"print-options", no_argument, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    int option;

    opterr = 0;
    while ((option = getopt_long(count, words, ":c:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            if (arguments->config_file != NULL) {
                return usage_error("--config is given twice", "");
            }
            arguments->config_file = optarg;
            break;
        case 'k':
            arguments->check = true;
            break;
        case 'p':
            arguments->print_config = true;
            break;
        case 'o':
            arguments->print_options = true;
            break;
        case 'v':
            arguments->version = true;
            break;
        case 'h':
            arguments->help = true;
            break;
        case ':':
            return usage_error("a file name must follow ", words[optind - 1]);
        default:
            return usage_error("unknown option ", words[optind - 1]);
        }
    }
    if (optind < count) {
        return usage_error("unexpected argument ", words[optind]);
    }
    if (arguments->check && arguments->print_config) {
        return usage_error("--check and --print-config exclude each other", "");
    }
    return EX_OK;
}

/* Line by line, each with the program's name, as people expect it on a terminal. */
static void print_lines(FILE *out, const char *prefix, const struct buf *lines)
{
    struct bytes rest = buf_bytes(lines);

    while (rest.size > 0) {
        const uint8_t *end = memchr(rest.data, '\n', rest.size);
        size_t size = end == NULL ? rest.size : (size_t)(end - rest.data) + 1;

        (void)fprintf(out, "%s%.*s", prefix, (int)size, (const char *)rest.data);
        rest = (struct bytes){rest.data + size, rest.size - size};
    }
}

static int print_config(const struct config *config)
{
    struct buf text = {0};
    int exit_code = EX_SOFTWARE;

    if (config_print(config, &text) == 0) {
        print_lines(stdout, "", &text);
        exit_code = EX_OK;
    }
    buf_deinit(&text);
    return exit_code;
}

static int print_options(void)
{
    struct buf text = {0};
    int exit_code = EX_SOFTWARE;

    if (config_print_options(&text) == 0) {
        print_lines(stdout, "", &text);
        exit_code = EX_OK;
    }
    buf_deinit(&text);
    return exit_code;
}

static int check(const struct config *config)
{
    int exit_code = app_check(config);

    if (exit_code == EX_OK) {
        (void)puts("userd: the configuration is good");
    }
    return exit_code;
}

/* What is to be done with a configuration, and how it went. */
static int act(const struct arguments *arguments, struct config *config, bool is_good)
{
    int exit_code = EX_OK;

    if (arguments->print_config) {
        exit_code = print_config(config);
    }
    if (!is_good) {
        return EX_CONFIG;
    }
    if (arguments->print_config) {
        return exit_code;
    }
    return arguments->check ? check(config) : app_run(config);
}

static int run(const struct arguments *arguments)
{
    static struct config config;
    struct buf errors = {0};
    int result =
        config_load(&config, arguments->config_file, (const char *const *)environ, &errors);
    int exit_code;

    print_lines(stderr, "userd: ", &errors);
    if (result < 0) {
        (void)fprintf(stderr, "userd: %s\n", strerror(-result));
        exit_code = EX_SOFTWARE;
    } else {
        exit_code = act(arguments, &config, result == 0);
    }
    buf_deinit(&errors);
    config_deinit(&config);
    return exit_code;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.config_file = NULL};
    int exit_code = parse_arguments(argc, argv, &arguments);

    if (exit_code != EX_OK) {
        return exit_code;
    }
    if (arguments.help) {
        print_usage(stdout);
        return EX_OK;
    }
    if (arguments.version) {
        print_version();
        return EX_OK;
    }
    if (arguments.print_options) {
        return print_options();
    }
    return run(&arguments);
}
