#include "userwal_arguments.h"

#include "common_arguments.h"
#include "common_output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct common_command commands[USERWAL_COMMAND_COUNT] = {
    [USERWAL_STAT] =
        {"stat", "DIR", 1, 1, "what a data directory holds",
         "Reads only. Numbers of records are those of the files, so a user that was\n"
         "changed three times counts three; 'users' is how many there are in the end.\n"},
    [USERWAL_VERIFY] =
        {"verify", "DIR|FILE", 1, 1, "read and check everything, say what is wrong",
         "Reads every segment and snapshot, those too that userd would not need, and then does\n"
         "what userd does at start, on a copy in memory. FILE is a single snapshot or segment.\n"
         "Every finding names file, offset, the records (LSNs) concerned, what would be lost and\n"
         "what to do. Nothing is changed. Exit code 0: whole; 65: damaged.\n"},
    [USERWAL_DUMP] =
        {"dump", "DIR|FILE", 1, 1, "print all frames and records as JSON lines",
         "Prints the snapshots first, then the segments; a FILE alone may be a snapshot, a "
         "segment\n"
         "or a .torn file of a whole segment. Goes on behind damage: 'in_chain' is false for what\n"
         "stands there. Passwords are kept as hashes only, and these are shown as *** unless\n"
         "--with-password-hashes. Reads only.\n"},
    [USERWAL_TRUNCATE] =
        {"truncate", "DIR", 1, 1, "give up the log from a damaged place on",
         "For a log that userd refuses to start with (exit code 65). Without --accept-loss-from "
         "it\n"
         "only says what would be lost: which records, which users, of which time. With it, and\n"
         "only if LSN is exactly the place where the whole log ends, it cuts: what is cut off is\n"
         "kept in files named *.torn, the watermark (CONTROL) is taken back, and userd starts\n"
         "again. Restoring a backup is better when there is one. Not while userd runs.\n"},
    [USERWAL_SNAPSHOT] =
        {"snapshot", "DIR", 1, 1, "write a snapshot, so that old log can go",
         "Does offline what SIGUSR1 makes a running userd do. With --to the snapshot is copied to\n"
         "FILE as well and the copy is read back: one such file is a whole backup; see 'restore'.\n"
         "Not while userd runs.\n"},
    [USERWAL_RESTORE] =
        {"restore", "FILE DIR", 2, 2, "make a data directory from one snapshot",
         "FILE is a snapshot (snap-*.snap, or a copy of one). DIR must be empty or not there. It\n"
         "then holds every user as of the moment of the snapshot, and userd can start on it. It\n"
         "is a new store: files of the old one do not fit into DIR, nor those of DIR into it.\n"},
    [USERWAL_EXPORT] =
        {"export", "DIR|FILE", 1, 1, "print all users as JSON lines",
         "One User on a line, in the order of creation, as 'userctl list --json' prints them. "
         "FILE\n"
         "is a single snapshot. With --with-passwords each line has password_hash (Argon2id, PHC\n"
         "string) and request_id too: keep such a file as secret as the data. Reads only.\n"},
    [USERWAL_IMPORT] =
        {"import", "DIR [FILE]", 1, 2, "make a data directory from JSON lines",
         "Each line of FILE (or of standard input) is one User, as 'export' prints it; id,\n"
         "created_at, updated_at, password_hash and request_id are kept when they are there. DIR\n"
         "must be empty or not there. The rules are those of the server; the first bad line ends\n"
         "it, and DIR stays empty, unless --skip-bad leaves bad lines out. Lines must stand in "
         "the\n"
         "order of created_at.\n"},
    [USERWAL_HELP] = {"help", "[COMMAND]", 0, 1, "show help about a command", NULL},
};

#define FOR(command) COMMON_ARGUMENTS_FOR(command)
#define FOR_ALL      COMMON_ARGUMENTS_FOR_ALL

/* One per row of the table below, in its order. */
enum option_id {
    OPTION_JSON,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_FROM,
    OPTION_TO,
    OPTION_PASSWORD_HASHES,
    OPTION_ACCEPT,
    OPTION_DRY_RUN,
    OPTION_PASSWORDS,
    OPTION_SKIP_BAD,
    OPTION_COUNT,
};

static const struct common_option rows[OPTION_COUNT] = {
    [OPTION_JSON] = {"json", NULL, FOR_ALL, "results as JSON (dump and export always do)"},
    [OPTION_HELP] = {"help", NULL, FOR_ALL, "this text, or after a command, help about it"},
    [OPTION_VERSION] = {"version", NULL, FOR_ALL, "the version"},
    [OPTION_FROM] = {"from", "LSN", FOR(USERWAL_DUMP), "only records from this one on"},
    [OPTION_TO] = {"to", "LSN|FILE", FOR(USERWAL_DUMP) | FOR(USERWAL_SNAPSHOT),
                   "dump: only records up to this one; snapshot: copy it there"},
    [OPTION_PASSWORD_HASHES] = {"with-password-hashes", NULL, FOR(USERWAL_DUMP),
                                "show the hashes of passwords"},
    [OPTION_ACCEPT] = {"accept-loss-from", "LSN", FOR(USERWAL_TRUNCATE),
                       "cut, and lose every record from this one on"},
    [OPTION_DRY_RUN] = {"dry-run", NULL,
                        FOR(USERWAL_TRUNCATE) | FOR(USERWAL_SNAPSHOT) | FOR(USERWAL_RESTORE) |
                            FOR(USERWAL_IMPORT),
                        "try it in memory, change nothing"},
    [OPTION_PASSWORDS] = {"with-passwords", NULL, FOR(USERWAL_EXPORT),
                          "with password_hash and request_id"},
    [OPTION_SKIP_BAD] = {"skip-bad", NULL, FOR(USERWAL_IMPORT),
                         "leave out bad lines, and report each"},
};

static const struct common_arguments_table table = {
    .program = "userwal",
    .commands = commands,
    .command_count = USERWAL_COMMAND_COUNT,
    .options = rows,
    .option_count = OPTION_COUNT,
    .help_option = OPTION_HELP,
};

/* A number from 1 on, in decimal, or in hexadecimal with 0x as in the names of files. */
static int take_lsn(unsigned command, const char *value, uint64_t *ret_lsn)
{
    bool is_hex = value[0] == '0' && value[1] == 'x';
    const char *digits = is_hex ? value + 2 : value;
    unsigned long long lsn;
    char *end;

    errno = 0;
    lsn = strtoull(digits, &end, is_hex ? 16 : 10);
    if (strspn(digits, "0123456789abcdefABCDEF") != strlen(digits) || end == digits ||
        *end != '\0' || errno != 0 || lsn == 0) {
        return common_arguments_refuse(
            &table, command, "%s is no LSN: a number from 1 on, or 0x and hexadecimal digits",
            value);
    }
    *ret_lsn = lsn;
    return 0;
}

struct taking {
    struct userwal_arguments arguments;
    const char *to;
};

static int take_option(void *context, unsigned option, const char *value)
{
    struct taking *taking = context;
    struct userwal_arguments *arguments = &taking->arguments;

    switch ((enum option_id)option) {
    case OPTION_JSON:
        arguments->json = true;
        break;
    case OPTION_HELP:
        arguments->help = true;
        break;
    case OPTION_VERSION:
        arguments->version = true;
        break;
    case OPTION_FROM:
        return take_lsn(USERWAL_NONE, value, &arguments->from);
    case OPTION_TO:
        taking->to = value;
        break;
    case OPTION_ACCEPT:
        return take_lsn(USERWAL_NONE, value, &arguments->accept);
    case OPTION_DRY_RUN:
        arguments->dry_run = true;
        break;
    case OPTION_PASSWORD_HASHES:
    case OPTION_PASSWORDS:
        arguments->hashes = true;
        break;
    case OPTION_SKIP_BAD:
        arguments->skip_bad = true;
        break;
    case OPTION_COUNT:
        break;
    }
    return 0;
}

enum userwal_command userwal_arguments_command(const char *name)
{
    return (enum userwal_command)common_arguments_command(&table, name);
}

int userwal_arguments_read(int argc, char **argv, struct userwal_arguments *ret_arguments)
{
    struct taking taking = {.arguments = {.to = UINT64_MAX}};
    struct userwal_arguments *arguments = &taking.arguments;
    struct common_words words;
    int result = common_arguments_read(&table, argc, argv, take_option, &taking, &words);

    if (result != 0) {
        return result;
    }
    arguments->command = (enum userwal_command)words.command;
    arguments->first = words.operands[0];
    arguments->second = words.operands[1];
    arguments->to_file = taking.to;
    if (taking.to != NULL && arguments->command == USERWAL_DUMP) {
        result = take_lsn(words.command, taking.to, &arguments->to);
    }
    if (result == 0) {
        *ret_arguments = *arguments;
    }
    return result;
}

static void print_overview(FILE *out)
{
    (void)fputs(
        "userwal: looks into a data directory of userd, repairs it, saves and restores it\n\n"
        "usage: userwal [OPTIONS] COMMAND DIR [...]\n\ncommands:\n",
        out);
    common_arguments_print_commands(&table, out, 9, 11);
    (void)fputs("\noptions, before or after the command:\n", out);
    common_arguments_print_common(&table, out);
    (void)fprintf(
        out,
        "\nDIR is what userd has as store.data_dir. Commands that change it want userd to\n"
        "be stopped; nothing is ever changed that was not asked for.\n"
        "\nexit code: 0, %d for a wrong command line, %d when data is damaged or\n"
        "refused, %d without memory, %d when reading or writing fails, %d while userd\n"
        "(or another userwal) uses DIR, %d where io_uring is forbidden\n",
        COMMON_EXIT_USAGE, COMMON_EXIT_DAMAGED, COMMON_EXIT_SOFTWARE, COMMON_EXIT_IO,
        COMMON_EXIT_IN_USE, COMMON_EXIT_CONFIGURATION);
}

void userwal_arguments_help(FILE *out, enum userwal_command command)
{
    const struct common_command *about = &commands[command];

    if (command == USERWAL_NONE || command == USERWAL_HELP) {
        print_overview(out);
        return;
    }
    (void)fprintf(out, "userwal %s: %s\n\nusage: userwal %s %s [OPTIONS]\n\n%s\n", about->name,
                  about->summary, about->name, about->operands,
                  about->notes == NULL ? "" : about->notes);
    common_arguments_print_options(&table, out, command);
    common_arguments_print_common(&table, out);
}
