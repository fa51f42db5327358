#include "userbench_options.h"

#include "userbench_problem.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One of `text`, `number` and `flag` is set. */
struct option_row {
    const char *name;
    const char **text;
    unsigned *number;
    bool *flag;
};

static unsigned read_number(const char *name, const char *text)
{
    char *end;
    unsigned long number;

    errno = 0;
    number = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || number > UINT_MAX) {
        userbench_problem("%s: \"%s\" is no number", name, text);
    }
    return (unsigned)number;
}

static void take(const struct option_row *row, const char *value)
{
    if (row->flag != NULL) {
        *row->flag = true;
    } else if (value == NULL) {
        userbench_problem("%s: the value is missing", row->name);
    } else if (row->text != NULL) {
        *row->text = value;
    } else {
        *row->number = read_number(row->name, value);
    }
}

static const struct option_row *find(const struct option_row *rows, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    userbench_problem("no option %s", name);
}

struct userbench_options userbench_options_read(int argc, char **argv)
{
    struct userbench_options options = {
        .dir = ".",
        .users = 1000,
        .in_flight = 1,
        .connections = 1,
        .rounds = 20,
        .calls = 100,
    };
    const struct option_row rows[] = {
        {"--target", &options.target, NULL, NULL},
        {"--second-target", &options.second_target, NULL, NULL},
        {"--ca", &options.ca_file, NULL, NULL},
        {"--token-file", &options.token_file, NULL, NULL},
        {"--dir", &options.dir, NULL, NULL},
        {"--users", NULL, &options.users, NULL},
        {"--in-flight", NULL, &options.in_flight, NULL},
        {"--rate", NULL, &options.rate, NULL},
        {"--updates", NULL, &options.updates, NULL},
        {"--connections", NULL, &options.connections, NULL},
        {"--rounds", NULL, &options.rounds, NULL},
        {"--calls", NULL, &options.calls, NULL},
        {"--server-core", NULL, &options.server_core, NULL},
        {"--sleep", NULL, NULL, &options.sleeps},
    };

    for (int i = 0; i < argc; i++) {
        const struct option_row *row = find(rows, sizeof(rows) / sizeof(rows[0]), argv[i]);

        take(row, row->flag != NULL || i + 1 == argc ? NULL : argv[i + 1]);
        i += row->flag == NULL;
    }
    if (options.users == 0 || options.connections == 0) {
        userbench_problem("--users and --connections: at least 1");
    }
    return options;
}

void userbench_options_help(void)
{
    (void)puts("userbench COMMAND [OPTION...]: measures a running userd, or "
               "makes data for one.\n"
               "\n"
               "  data    --dir DIR --users N: a data directory with so many "
               "users, all in the log\n"
               "  commit  --target HOST:PORT --ca FILE --token-file FILE --dir "
               "DIR [--in-flight N]\n"
               "          [--users N] [--rounds N] [--calls N] [--server-core N] "
               "[--sleep]\n"
               "          [--second-target HOST:PORT]: UpdateUser and GetUser, "
               "and with one in flight\n"
               "          bare writes in DIR, in turns\n"
               "  load    --target HOST:PORT --ca FILE --token-file FILE --users "
               "N --connections N\n"
               "          [--rate N | --in-flight N] [--updates N] [--sleep]: "
               "GetUser at a rate, or so\n"
               "          many at once, and UpdateUser at a rate; each line of "
               "the standard input names\n"
               "          what begins now, its end ends the program\n"
               "\n"
               "The target may be a list, HOST:PORT,HOST:PORT, or dns:///NAME:PORT: "
               "each of the N\n"
               "connections is then one to every address, called in turn.");
}
