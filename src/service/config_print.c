#include "service/config.h"
#include "service/config_table.h"
#include "service/config_value.h"

#include <stdio.h>
#include <string.h>

/* The effective configuration as INI text that userd reads back to the same values. */

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
    (void)snprintf(tail, sizeof(tail), " ; %s\n", origin);
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
