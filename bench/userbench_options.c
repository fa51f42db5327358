#include "userbench_options.h"

#include "userbench_problem.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One of `text`, `number`, `flag` and `real` is set. */
struct option_row {
    const char *name;
    const char **text;
    unsigned *number;
    bool *flag;
    double *real;
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

static double read_real(const char *name, const char *text)
{
    char *end;
    double number = strtod(text, &end);

    if (end == text || *end != '\0' || !(number >= 0 && number < 1e9)) {
        userbench_problem("%s: \"%s\" is no number", name, text);
    }
    return number;
}

static void take(const struct option_row *row, const char *value)
{
    if (row->flag != NULL) {
        *row->flag = true;
    } else if (value == NULL) {
        userbench_problem("%s: the value is missing", row->name);
    } else if (row->text != NULL) {
        *row->text = value;
    } else if (row->real != NULL) {
        *row->real = read_real(row->name, value);
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

/* NOLINTNEXTLINE(readability-function-size): a table. */
struct userbench_options userbench_options_read(int argc, char **argv)
{
    struct userbench_options options = {
        .dir = ".",
        .users = 1000,
        .in_flight = 1,
        .connections = 1,
        .streams = 1,
        .outstanding = 10000,
        .items = 1000,
        .window = 100,
        .seed = 1,
        .rounds = 20,
        .calls = 100,
        .zipf_exponent = 0.99,
        .shows_progress = isatty(STDERR_FILENO) == 1,
    };
    const struct option_row rows[] = {
        {.name = "--target", .text = &options.target},
        {.name = "--second-target", .text = &options.second_target},
        {.name = "--ca", .text = &options.ca_file},
        {.name = "--token-file", .text = &options.token_file},
        {.name = "--dir", .text = &options.dir},
        {.name = "--mix", .text = &options.mix},
        {.name = "--ids", .text = &options.ids},
        {.name = "--filter", .text = &options.filter},
        {.name = "--users", .number = &options.users},
        {.name = "--in-flight", .number = &options.in_flight},
        {.name = "--rate", .number = &options.rate},
        {.name = "--updates", .number = &options.updates},
        {.name = "--connections", .number = &options.connections},
        {.name = "--streams", .number = &options.streams},
        {.name = "--outstanding", .number = &options.outstanding},
        {.name = "--items", .number = &options.items},
        {.name = "--window", .number = &options.window},
        {.name = "--page-size", .number = &options.page_size},
        {.name = "--deadline-ms", .number = &options.deadline_ms},
        {.name = "--seed", .number = &options.seed},
        {.name = "--call-limit", .number = &options.call_limit},
        {.name = "--rounds", .number = &options.rounds},
        {.name = "--calls", .number = &options.calls},
        {.name = "--server-core", .number = &options.server_core},
        {.name = "--zipf-exponent", .real = &options.zipf_exponent},
        {.name = "--warm-up", .real = &options.warm_up_s},
        {.name = "--seconds", .real = &options.seconds},
        {.name = "--bare", .flag = &options.is_bare},
        {.name = "--sleep", .flag = &options.sleeps},
        {.name = "--spin", .flag = &options.spins},
        {.name = "--skip", .flag = &options.skips},
        {.name = "--literal-token", .flag = &options.token_is_literal},
        {.name = "--tolerate", .flag = &options.tolerates},
        {.name = "--phases", .flag = &options.has_phases},
        {.name = "--progress", .flag = &options.shows_progress},
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
    (void)fputs(
        "userbench COMMAND [OPTION...]: measures a running server of users.v1, or makes data.\n"
        "\n"
        "  load    --target HOST:PORT [--ca FILE] [--token-file FILE] --users N --connections N\n"
        "          --streams N: so many calls always under way on each connection, or\n"
        "          --rate N [--outstanding N [--skip]]: so many a second, latency from when they "
        "were due;\n"
        "          what is due beyond --outstanding waits, and grows late, or is left out\n"
        "          --seconds S | --call-limit N (no warm-up then) | --phases: until then; with "
        "phases each line of\n"
        "          the standard input names what begins now, its end ends the program\n"
        "          [--warm-up S] [--mix GetUser=95,UpdateUser=5] [--items N] [--window N]\n"
        "          [--ids uniform|zipf|sequential|one] [--zipf-exponent X] [--seed N]\n"
        "          [--page-size N] [--filter F] [--deadline-ms N] [--literal-token]\n"
        "          [--tolerate] [--sleep | --spin] [--progress]\n"
        "          Prints one JSON object. --literal-token sends the token as h2load does, never\n"
        "          indexed; without it as gRPC clients do. --tolerate counts failures.\n"
        "          BatchCreateUsers and SyncUsers are streams of --items, --window of them under\n"
        "          way; their items are what is counted. WatchUser ends with its first message.\n"
        "          DeleteUser takes the last tenth of the users, which nothing else calls then.\n"
        "  data    --dir DIR --users N [--bare]: a data directory with so many users, all in the "
        "log; bare:\n"
        "          as SyncUsers makes them, without a password and a request_id\n"
        "  commit  --target HOST:PORT --ca FILE --token-file FILE --dir DIR [--in-flight N]\n"
        "          [--users N] [--rounds N] [--calls N] [--server-core N] [--sleep]\n"
        "          [--second-target HOST:PORT]: UpdateUser and GetUser, and with one in flight\n"
        "          bare writes in DIR, in turns\n"
        "  channel --target HOST:PORT --ca FILE --token-file FILE --users N --connections N\n"
        "          [--rate N | --in-flight N] [--updates N] [--sleep]: GetUser and UpdateUser\n"
        "          through the client library; phases as with `load`. The target may be a list,\n"
        "          HOST:PORT,HOST:PORT, or dns:///NAME:PORT: each of the N connections is then "
        "one\n"
        "          to every address, called in turn.\n",
        stdout);
}
