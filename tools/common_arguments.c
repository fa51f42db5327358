#include "common_arguments.h"

#include "common_output.h"

#include <assert.h>
#include <getopt.h>
#include <stdbool.h>
#include <string.h>

int common_arguments_vrefuse(const struct common_arguments_table *table, unsigned command,
                             const char *format, va_list values)
{
    const char *name = table->commands[command].name;

    (void)fprintf(stderr, "%s: ", table->program);
    (void)vfprintf(stderr, format, values);
    (void)fprintf(stderr, "\nTry '%s %s%s--help'.\n", table->program, name == NULL ? "" : name,
                  name == NULL ? "" : " ");
    return COMMON_EXIT_USAGE;
}

int common_arguments_refuse(const struct common_arguments_table *table, unsigned command,
                            const char *format, ...)
{
    va_list values;
    int result;

    va_start(values, format);
    result = common_arguments_vrefuse(table, command, format, values);
    va_end(values);
    return result;
}

unsigned common_arguments_command(const struct common_arguments_table *table, const char *name)
{
    for (unsigned i = 0; i < table->command_count; i++) {
        if (table->commands[i].name != NULL && strcmp(table->commands[i].name, name) == 0) {
            return i;
        }
    }
    return COMMON_ARGUMENTS_NONE;
}

/* The words that are no options: a command and its operands. */
static int take_words(const struct common_arguments_table *table, char **words, unsigned count,
                      bool help, struct common_words *ret_words)
{
    const struct common_command *command;

    if (count == 0) {
        return 0;
    }
    ret_words->command = common_arguments_command(table, words[0]);
    command = &table->commands[ret_words->command];
    if (ret_words->command == COMMON_ARGUMENTS_NONE) {
        return common_arguments_refuse(table, ret_words->command, "there is no command '%s'",
                                       words[0]);
    }
    if (count - 1 > command->most) {
        return common_arguments_refuse(table, ret_words->command, "'%s' is one word too many",
                                       words[count - 1]);
    }
    if (count - 1 < command->least && !help) {
        return common_arguments_refuse(table, ret_words->command,
                                       "something is missing behind '%s'", words[0]);
    }
    for (unsigned i = 0; i + 1 < count; i++) {
        ret_words->operands[i] = words[i + 1];
    }
    return 0;
}

/* An option that the command has no use for is a mistake, not noise. */
static int check_options(const struct common_arguments_table *table, const bool *given,
                         unsigned command)
{
    for (unsigned i = 0; i < table->option_count; i++) {
        if (given[i] && (table->options[i].commands & COMMON_ARGUMENTS_FOR(command)) == 0) {
            return common_arguments_refuse(table, command, "--%s does not go with '%s'",
                                           table->options[i].name, table->commands[command].name);
        }
    }
    return 0;
}

#define FIRST_VALUE                                                                                \
    256 /* of an option: below it are those of one letter, which we have none of                   \
         */

/* What getopt does not like, in words of our own: what follows a '=' may be a secret. */
static int refuse_option(const struct common_arguments_table *table, int fault, const char *word)
{
    int size = (int)strcspn(word, "=");

    if (optopt >= FIRST_VALUE) {
        return common_arguments_refuse(table, COMMON_ARGUMENTS_NONE, "--%s %s",
                                       table->options[optopt - FIRST_VALUE].name,
                                       fault == ':' ? "needs a value" : "takes no value");
    }
    if (optopt != 0) {
        return common_arguments_refuse(table, COMMON_ARGUMENTS_NONE, "there is no option '-%c'",
                                       optopt);
    }
    for (unsigned i = 0; size > 2 && i < table->option_count; i++) {
        if (strncmp(table->options[i].name, word + 2, (size_t)size - 2) == 0) {
            return common_arguments_refuse(table, COMMON_ARGUMENTS_NONE,
                                           "'%.*s' may stand for several options", size, word);
        }
    }
    return common_arguments_refuse(table, COMMON_ARGUMENTS_NONE, "there is no option '%.*s'", size,
                                   word);
}

static int read_options(const struct common_arguments_table *table, int argc, char **argv,
                        bool *given, common_arguments_take_fn take, void *context)
{
    struct option options[COMMON_ARGUMENTS_OPTIONS_MAX + 1] = {{0}};
    int found;
    int result;

    for (unsigned i = 0; i < table->option_count; i++) {
        options[i] = (struct option){
            .name = table->options[i].name,
            .has_arg = table->options[i].value == NULL ? no_argument : required_argument,
            .val = FIRST_VALUE + (int)i,
        };
    }
    /* getopt moves options before words, so they may stand on either side of the command. */
    opterr = 0;
    while ((found = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (found < FIRST_VALUE) {
            return refuse_option(table, found, argv[optind - 1]);
        }
        given[found - FIRST_VALUE] = true;
        result = take(context, (unsigned)(found - FIRST_VALUE), optarg);
        if (result != 0) {
            return result;
        }
    }
    return 0;
}

int common_arguments_read(const struct common_arguments_table *table, int argc, char **argv,
                          common_arguments_take_fn take, void *context,
                          struct common_words *ret_words)
{
    bool given[COMMON_ARGUMENTS_OPTIONS_MAX] = {false};
    struct common_words words = {0};
    int result;

    assert(table->option_count <= COMMON_ARGUMENTS_OPTIONS_MAX);
    result = read_options(table, argc, argv, given, take, context);
    if (result == 0) {
        result = take_words(table, argv + optind, (unsigned)(argc - optind),
                            given[table->help_option], &words);
    }
    if (result == 0 && words.command != COMMON_ARGUMENTS_NONE) {
        result = check_options(table, given, words.command);
    }
    if (result == 0) {
        *ret_words = words;
    }
    return result;
}

void common_arguments_print_commands(const struct common_arguments_table *table, FILE *out,
                                     int name_width, int operands_width)
{
    for (unsigned i = 0; i < table->command_count; i++) {
        const struct common_command *command = &table->commands[i];

        if (command->name != NULL) {
            (void)fprintf(out, "  %-*s %-*s %s\n", name_width, command->name, operands_width,
                          command->operands, command->summary);
        }
    }
}

/* Two blanks at least stand between an option and what it does. */
static void print_option(const struct common_option *option, FILE *out)
{
    char left[48];

    (void)snprintf(left, sizeof(left), "--%s%s%s", option->name, option->value == NULL ? "" : " ",
                   option->value == NULL ? "" : option->value);
    (void)fprintf(out, "  %-23s  %s\n", left, option->help);
}

void common_arguments_print_common(const struct common_arguments_table *table, FILE *out)
{
    for (unsigned i = 0; i < table->option_count; i++) {
        if ((table->options[i].commands & COMMON_ARGUMENTS_FOR_OVERVIEW) != 0) {
            print_option(&table->options[i], out);
        }
    }
}

void common_arguments_print_options(const struct common_arguments_table *table, FILE *out,
                                    unsigned command)
{
    for (unsigned i = 0; i < table->option_count; i++) {
        const unsigned commands = table->options[i].commands;

        if ((commands & COMMON_ARGUMENTS_FOR_OVERVIEW) == 0 &&
            (commands & COMMON_ARGUMENTS_FOR(command)) != 0) {
            print_option(&table->options[i], out);
        }
    }
}
