#include "service/config.h"
#include "service/config_table.h"
#include "service/config_value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The effective configuration as INI text that userd reads back to the same values. A comment after
 * each says where it comes from, and whether a reload takes it. And the table of options, for the
 * manual page that is made from it. */

#define ROW_SIZE 1024 /* of the table; the longest row is half of it */

static void format_origin(const struct config *config, const struct config_origin *origin,
                          char *out, size_t room)
{
    switch (origin->kind) {
    case CONFIG_FROM_DEFAULT:
        (void)snprintf(out, room, "default");
        break;
    case CONFIG_FROM_FILE:
        (void)snprintf(out, room, "%s:%d", config->file, origin->line);
        break;
    case CONFIG_FROM_ENVIRONMENT:
        (void)snprintf(out, room, "environment %s", origin->environment);
        break;
    }
}

static int print_option(const struct config *config, const struct config_option *option,
                        struct buf *out)
{
    char head[128];
    char tail[512];
    char origin[480];
    const void *field = (const char *)config + option->offset;
    bool masked = option->secret && (*(char *const *)field)[0] != '\0';
    int result;

    format_origin(config, &config->origins[option - config_options], origin, sizeof(origin));
    (void)snprintf(head, sizeof(head), "%s%s = ", option->environment_only ? "; " : "",
                   option->key);
    (void)snprintf(tail, sizeof(tail), " ; %s%s\n", origin,
                   option->reloadable ? ", reloadable" : "");
    result = buf_append(out, head, strlen(head));
    if (result == 0) {
        result = masked ? buf_append(out, "********", 8) : config_value_format(option, field, out);
    }
    return result == 0 ? buf_append(out, tail, strlen(tail)) : result;
}

int config_print(const struct config *config, struct buf *out)
{
    const char *section = "";
    int result = 0;

    for (unsigned i = 0; i < config_option_count && result == 0; i++) {
        const struct config_option *option = &config_options[i];

        if (strcmp(section, option->section) != 0) {
            char head[64];

            (void)snprintf(head, sizeof(head), "%s[%s]\n", section[0] == '\0' ? "" : "\n",
                           option->section);
            section = option->section;
            result = buf_append(out, head, strlen(head));
        }
        if (result == 0) {
            result = print_option(config, option, out);
        }
    }
    if (result == 0) {
        result = config_policy_print(&config->policy, config->file, out);
    }
    return result;
}

/* The words between which a CONFIG_TYPE_ENUM chooses, with | between. */
static void format_choices(const struct config_option *option, char *out, size_t room)
{
    size_t size = 0;

    out[0] = '\0';
    for (const char *const *choice = option->choices; *choice != NULL && size < room; choice++) {
        int added = snprintf(out + size, room - size, "%s%s", size == 0 ? "" : "|", *choice);

        size += added > 0 ? (size_t)added : 0;
    }
}

static void format_range(const struct config_option *option, char *out, size_t room)
{
    switch (option->type) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_SIZE:
        (void)snprintf(out, room, "%" PRIu64 "..%" PRIu64, option->least, option->most);
        break;
    case CONFIG_TYPE_BOOL:
        (void)snprintf(out, room, "false|true");
        break;
    case CONFIG_TYPE_ENUM:
        format_choices(option, out, room);
        break;
    case CONFIG_TYPE_TEXT:
    case CONFIG_TYPE_PATH:
    case CONFIG_TYPE_ADDRESSES:
    case CONFIG_TYPE_ADDRESS:
        out[0] = '\0';
        break;
    }
}

int config_print_options(struct buf *out)
{
    static const char *const types[] = {
        [CONFIG_TYPE_TEXT] = "text",           [CONFIG_TYPE_PATH] = "path",
        [CONFIG_TYPE_ADDRESSES] = "addresses", [CONFIG_TYPE_ADDRESS] = "address",
        [CONFIG_TYPE_INT] = "number",          [CONFIG_TYPE_SIZE] = "size",
        [CONFIG_TYPE_BOOL] = "bool",           [CONFIG_TYPE_ENUM] = "choice",
    };
    int result = 0;

    for (unsigned i = 0; i < config_option_count && result == 0; i++) {
        const struct config_option *option = &config_options[i];
        char range[128];
        char row[ROW_SIZE];

        format_range(option, range, sizeof(range));
        (void)snprintf(row, sizeof(row), "%s.%s\t%s\t%s\t%s\t%s\t%s\t%s\n", option->section,
                       option->key, types[option->type], option->fallback, range, option->unit,
                       option->reloadable ? "reload" : "start", option->help);
        result = buf_append(out, row, strlen(row));
    }
    return result;
}
