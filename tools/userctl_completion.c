/*
 * What may follow an option is told by the word that help shows for its value: FILE is a file, NAME
 * after --on a target of the configuration, `a|b` one of these; for all others nobody knows. The
 * same holds for what follows a command.
 */
#include "userctl_completion.h"

#include "userctl_table.h"

#include <stdbool.h>
#include <string.h>

#define TARGET_NAMES "targets --json 2>/dev/null | sed -n 's/^{\"name\":\"\\([^\"]*\\)\".*/\\1/p'"

enum value_kind {
    VALUE_NONE, /* the option takes none */
    VALUE_FILE,
    VALUE_TARGET,
    VALUE_CHOICE,
    VALUE_OTHER,
};

static enum value_kind kind_of(unsigned option)
{
    const char *value = userctl_table.options[option].value;

    if (value == NULL) {
        return VALUE_NONE;
    }
    if (option == USERCTL_OPTION_ON) {
        return VALUE_TARGET;
    }
    if (strcmp(value, USERCTL_VALUE_FILE) == 0) {
        return VALUE_FILE;
    }
    return strchr(value, '|') != NULL ? VALUE_CHOICE : VALUE_OTHER;
}

/* "a|b" as "a b". */
static void print_choices(FILE *out, const char *choices)
{
    for (; *choices != '\0'; choices++) {
        (void)fputc(*choices == '|' ? ' ' : *choices, out);
    }
}

static bool belongs_to(unsigned option, unsigned command)
{
    unsigned commands = userctl_table.options[option].commands;

    return commands != COMMON_ARGUMENTS_FOR_ALL && (commands & COMMON_ARGUMENTS_FOR(command)) != 0;
}

/* Goes with every command. */
static bool is_common(unsigned option)
{
    return userctl_table.options[option].commands == COMMON_ARGUMENTS_FOR_ALL;
}

/* May stand where no command is known yet. */
static bool is_of_overview(unsigned option)
{
    return (userctl_table.options[option].commands & COMMON_ARGUMENTS_FOR_OVERVIEW) != 0;
}

static bool takes_file(const struct common_command *command)
{
    return strcmp(command->operands, USERCTL_VALUE_FILE) == 0;
}

/* ------------------------------------------------------------------------------------------- bash
 */

static void bash_commands(FILE *out)
{
    const char *separator = "";

    for (unsigned i = 0; i < userctl_table.command_count; i++) {
        if (userctl_table.commands[i].name != NULL) {
            (void)fprintf(out, "%s%s", separator, userctl_table.commands[i].name);
            separator = " ";
        }
    }
}

/* The options of a kind as a pattern of `case`. */
static void bash_pattern(FILE *out, enum value_kind kind)
{
    const char *separator = "";

    for (unsigned i = 0; i < userctl_table.option_count; i++) {
        if (kind_of(i) == kind) {
            (void)fprintf(out, "%s--%s", separator, userctl_table.options[i].name);
            separator = "|";
        }
    }
}

static void bash_values(FILE *out)
{
    (void)fputs("    case $previous in\n    ", out);
    bash_pattern(out, VALUE_FILE);
    (void)fputs(")\n        _userctl_files \"$current\"\n        return ;;\n    ", out);
    bash_pattern(out, VALUE_TARGET);
    (void)fputs(")\n        _userctl_words \"$(\"$1\" \"${config[@]}\" " TARGET_NAMES
                ")\" \"$current\"\n        return ;;\n",
                out);
    for (unsigned i = 0; i < userctl_table.option_count; i++) {
        if (kind_of(i) == VALUE_CHOICE) {
            (void)fprintf(out, "    --%s)\n        _userctl_words \"",
                          userctl_table.options[i].name);
            print_choices(out, userctl_table.options[i].value);
            (void)fputs("\" \"$current\"\n        return ;;\n", out);
        }
    }
    (void)fputs("    ", out);
    bash_pattern(out, VALUE_OTHER);
    (void)fputs(")\n        return ;;\n    esac\n", out);
}

static void bash_options(FILE *out)
{
    (void)fputs("    if [[ $current == -* ]]; then\n        options=\"", out);
    for (unsigned i = 0; i < userctl_table.option_count; i++) {
        if (is_common(i)) {
            (void)fprintf(out, "--%s ", userctl_table.options[i].name);
        }
    }
    (void)fputs("\"\n        case $command in\n        '') options+=\"", out);
    for (unsigned i = 0; i < userctl_table.option_count; i++) {
        if (is_of_overview(i) && !is_common(i)) {
            (void)fprintf(out, "--%s ", userctl_table.options[i].name);
        }
    }
    (void)fputs("\" ;;\n", out);
    for (unsigned i = 1; i < userctl_table.command_count; i++) {
        bool is_any = false;

        for (unsigned j = 0; j < userctl_table.option_count; j++) {
            if (belongs_to(j, i) && !is_any) {
                (void)fprintf(out, "        %s) options+=\"", userctl_table.commands[i].name);
            }
            if (belongs_to(j, i)) {
                (void)fprintf(out, "--%s ", userctl_table.options[j].name);
                is_any = true;
            }
        }
        (void)fputs(is_any ? "\" ;;\n" : "", out);
    }
    (void)fputs("        esac\n        _userctl_words \"$options\" \"$current\"\n        return\n"
                "    fi\n",
                out);
}

static void bash_operands(FILE *out)
{
    (void)fputs("    case $command in\n    '' | help)\n        _userctl_words \"", out);
    bash_commands(out);
    (void)fputs("\" \"$current\" ;;\n", out);
    for (unsigned i = 1; i < userctl_table.command_count; i++) {
        const struct common_command *command = &userctl_table.commands[i];

        if (takes_file(command)) {
            (void)fprintf(out, "    %s)\n        _userctl_files \"$current\" ;;\n", command->name);
        } else if (strchr(command->operands, '|') != NULL) {
            (void)fprintf(out, "    %s)\n        _userctl_words \"", command->name);
            print_choices(out, command->operands);
            (void)fputs("\" \"$current\" ;;\n", out);
        }
    }
    (void)fputs("    esac\n", out);
}

/* Bash takes a word apart at `=` and at `:`: --lb=x is three of them, and so is localhost:50051.
 * What stands behind such a colon nobody can complete. */
void userctl_completion_bash(FILE *out)
{
    (void)fputs("# Completion of userctl for bash, made by 'userctl completion bash'.\n\n"
                "_userctl_words() {\n"
                "    mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$2\")\n"
                "}\n\n"
                "_userctl_files() {\n"
                "    compopt -o filenames 2>/dev/null\n"
                "    mapfile -t COMPREPLY < <(compgen -f -- \"$1\")\n"
                "}\n\n"
                "_userctl() {\n"
                "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
                "    local command='' options i\n"
                "    local -a config=()\n"
                "    COMPREPLY=()\n"
                "    if [[ $current == '=' ]]; then\n"
                "        current=''\n"
                "    elif [[ $previous == '=' ]]; then\n"
                "        previous=${COMP_WORDS[COMP_CWORD-2]}\n"
                "    fi\n"
                "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                "        case ${COMP_WORDS[i]} in\n        ",
                out);
    bash_pattern(out, VALUE_FILE);
    (void)fputc('|', out);
    bash_pattern(out, VALUE_TARGET);
    (void)fputc('|', out);
    bash_pattern(out, VALUE_CHOICE);
    (void)fputc('|', out);
    bash_pattern(out, VALUE_OTHER);
    (void)fputs(")\n"
                "            options=${COMP_WORDS[i]}\n"
                "            [[ ${COMP_WORDS[i+1]} != '=' ]] || i=$((i + 1))\n"
                "            i=$((i + 1))\n"
                "            while [[ ${COMP_WORDS[i+1]} == :* ]]; do i=$((i + 2)); done\n"
                "            [[ $options != --config ]] || config=(--config "
                "\"${COMP_WORDS[i]/#\\~\\//$HOME/}\") ;;\n"
                "        -* | '=' | :*) ;;\n"
                "        *) command=${command:-${COMP_WORDS[i]}} ;;\n"
                "        esac\n"
                "    done\n"
                "    [[ $current != :* && $previous != :* ]] || return\n",
                out);
    bash_values(out);
    bash_options(out);
    bash_operands(out);
    (void)fputs("}\n\ncomplete -F _userctl userctl\n", out);
}

/* -------------------------------------------------------------------------------------------- zsh
 */

/* A text within single quotes and brackets of a specification. */
static void zsh_text(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            (void)fputs("'\\''", out);
        } else {
            (void)fputs(strchr("[]:\\", *text) == NULL ? "" : "\\", out);
            (void)fputc(*text, out);
        }
    }
}

static void zsh_value(FILE *out, unsigned option)
{
    const char *value = userctl_table.options[option].value;

    (void)fputc(':', out);
    switch (kind_of(option)) {
    case VALUE_FILE:
        (void)fputs("file:_files", out);
        break;
    case VALUE_TARGET:
        (void)fputs("target:_userctl_targets", out);
        break;
    case VALUE_CHOICE:
        (void)fputs("choice:(", out);
        print_choices(out, value);
        (void)fputc(')', out);
        break;
    case VALUE_OTHER:
    case VALUE_NONE:
        zsh_text(out, value);
        (void)fputs(": ", out);
        break;
    }
}

static void zsh_option(FILE *out, unsigned option)
{
    bool repeats = option == USERCTL_OPTION_SET || option == USERCTL_OPTION_HEADER;
    bool has_value = userctl_table.options[option].value != NULL;

    (void)fprintf(out, "        '%s--%s%s[", repeats ? "*" : "", userctl_table.options[option].name,
                  has_value ? "=" : "");
    zsh_text(out, userctl_table.options[option].help);
    (void)fputc(']', out);
    if (has_value) {
        zsh_value(out, option);
    }
    (void)fputs("'\n", out);
}

static void zsh_operand(FILE *out, const struct common_command *command)
{
    if (takes_file(command)) {
        (void)fputs("        '1:file:_files'\n", out);
    } else if (strchr(command->operands, '|') != NULL) {
        (void)fputs("        '1:choice:(", out);
        print_choices(out, command->operands);
        (void)fputs(")'\n", out);
    } else if (strcmp(command->operands, USERCTL_VALUE_COMMAND) == 0) {
        (void)fputs("        '1:command:(", out);
        bash_commands(out);
        (void)fputs(")'\n", out);
    } else if (command->operands[0] != '\0') {
        (void)fputs("        '*:", out);
        zsh_text(out, command->operands);
        (void)fputs(": '\n", out);
    }
}

void userctl_completion_zsh(FILE *out)
{
    (void)fputs("#compdef userctl\n"
                "# Completion of userctl for zsh, made by 'userctl completion zsh'.\n\n"
                "_userctl_targets() {\n"
                "    local -a names config=()\n"
                "    [[ -z ${opt_args[--config]} ]] || config=(--config ${~opt_args[--config]})\n"
                "    names=(${(f)\"$(userctl $config " TARGET_NAMES ")\"})\n"
                "    compadd -a names\n"
                "}\n\n"
                "_userctl() {\n"
                "    local context state state_descr line\n"
                "    typeset -A opt_args\n"
                "    local -a common calls commands own\n"
                "    common=(\n",
                out);
    for (unsigned i = 0; i < userctl_table.option_count; i++) {
        if (is_common(i)) {
            zsh_option(out, i);
        }
    }
    (void)fputs("    )\n    calls=(\n", out);
    for (unsigned i = 0; i < userctl_table.option_count; i++) {
        if (is_of_overview(i) && !is_common(i)) {
            zsh_option(out, i);
        }
    }
    (void)fputs("    )\n    commands=(\n", out);
    for (unsigned i = 1; i < userctl_table.command_count; i++) {
        (void)fprintf(out, "        '%s:", userctl_table.commands[i].name);
        zsh_text(out, userctl_table.commands[i].summary);
        (void)fputs("'\n", out);
    }
    (void)fputs("    )\n"
                "    _arguments -C $common $calls '1:command:->command' '*::argument:->argument' "
                "&& return\n"
                "    if [[ $state == command ]]; then\n"
                "        _describe command commands\n"
                "        return\n"
                "    fi\n"
                "    own=()\n"
                "    case $words[1] in\n",
                out);
    for (unsigned i = 1; i < userctl_table.command_count; i++) {
        (void)fprintf(out, "    %s) own=(\n", userctl_table.commands[i].name);
        for (unsigned j = 0; j < userctl_table.option_count; j++) {
            if (belongs_to(j, i)) {
                zsh_option(out, j);
            }
        }
        zsh_operand(out, &userctl_table.commands[i]);
        (void)fputs("    ) ;;\n", out);
    }
    (void)fputs("    esac\n"
                "    _arguments $common $own\n"
                "}\n\n"
                "if [[ $funcstack[1] == _userctl ]]; then\n"
                "    _userctl \"$@\"\n"
                "else\n"
                "    compdef _userctl userctl\n"
                "fi\n",
                out);
}
