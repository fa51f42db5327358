/*
 * A command line of the form "tool [OPTIONS] COMMAND [OPERANDS]", read by two tables: the commands,
 * and the options with which commands may have them.
 *
 * Owns:    nothing.
 * Borrows: the tables, argv.
 * Thread:  one.
 */
#ifndef TOOLS_COMMON_ARGUMENTS_H
#define TOOLS_COMMON_ARGUMENTS_H

#include <stdarg.h>
#include <stdio.h>

#define COMMON_ARGUMENTS_OPTIONS_MAX 48
#define COMMON_ARGUMENTS_NONE        0 /* the index that no command has */

#define COMMON_ARGUMENTS_FOR(command) (1u << (command))
#define COMMON_ARGUMENTS_FOR_ALL      (~0u)
/* With this beside its commands, an option stands in the help about the whole tool. */
#define COMMON_ARGUMENTS_FOR_OVERVIEW COMMON_ARGUMENTS_FOR(COMMON_ARGUMENTS_NONE)

/* A name of NULL: there is no such command. */
struct common_command {
    const char *name;
    const char *operands; /* as help shows them */
    unsigned least;       /* operands */
    unsigned most;        /* 2, or fewer */
    const char *summary;
    const char *notes; /* for its own help; may be NULL */
};

struct common_option {
    const char *name;
    const char *value; /* NULL = takes none */
    unsigned commands; /* which may have it */
    const char *help;
};

struct common_arguments_table {
    const char *program;
    const struct common_command *commands;
    unsigned command_count;
    const struct common_option *options;
    unsigned option_count;
    unsigned help_option; /* the index of --help */
};

/* What is not an option of the tool's own. */
struct common_words {
    unsigned command;
    const char *operands[2]; /* NULL = not given */
};

/* Takes an option: its index in the table, its value. Returns 0 or an exit code. */
typedef int (*common_arguments_take_fn)(void *context, unsigned option, const char *value);

/* Returns 0; or COMMON_EXIT_USAGE after it has said on stderr what is wrong. With --help operands
 * may be missing. */
int common_arguments_read(const struct common_arguments_table *table, int argc, char **argv,
                          common_arguments_take_fn take, void *context,
                          struct common_words *ret_words);

/* The command of that name; COMMON_ARGUMENTS_NONE when there is none. */
unsigned common_arguments_command(const struct common_arguments_table *table, const char *name);

/* Says on stderr what is wrong with the command line and where help is. Returns COMMON_EXIT_USAGE.
 */
int common_arguments_refuse(const struct common_arguments_table *table, unsigned command,
                            const char *format, ...) __attribute__((format(printf, 3, 4)));
int common_arguments_vrefuse(const struct common_arguments_table *table, unsigned command,
                             const char *format, va_list values)
    __attribute__((format(printf, 3, 0)));

/* The parts of a help: all commands, in columns of that width; the options of the overview, or the
 * others of one command. */
void common_arguments_print_commands(const struct common_arguments_table *table, FILE *out,
                                     int name_width, int operands_width);
void common_arguments_print_common(const struct common_arguments_table *table, FILE *out);
void common_arguments_print_options(const struct common_arguments_table *table, FILE *out,
                                    unsigned command);

#endif
