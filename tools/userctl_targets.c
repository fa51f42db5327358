#include "userctl_targets.h"

#include "common_json.h"
#include "core/clock.h"
#include "userctl_output.h"
#include "userctl_terminal.h"

#include <stdio.h>
#include <string.h>

static bool is_default(const struct userctl_config *config,
                       const struct userctl_config_target *target)
{
    return config->default_target != NULL && strcmp(config->default_target, target->name) == 0;
}

static void text_member(struct common_json *json, const char *name, const char *text)
{
    if (text != NULL) {
        common_json_words(json, name, text);
    }
}

static void print_json(const struct userctl_config *config,
                       const struct userctl_config_target *target)
{
    struct common_json json = {.out = stdout};

    common_json_open(&json, NULL);
    text_member(&json, "name", target->name);
    text_member(&json, "target", target->target);
    if (is_default(config, target)) {
        common_json_bool(&json, "default", true);
    }
    text_member(&json, "ca", target->ca_file);
    text_member(&json, "cert", target->cert_file);
    text_member(&json, "key", target->key_file);
    text_member(&json, "server_name", target->server_name);
    text_member(&json, "token_file", target->token_file);
    if (target->plaintext) {
        common_json_bool(&json, "plaintext", true);
    }
    text_member(&json, "lb", target->balancing);
    if (target->deadline_ns != 0) {
        char span[32];

        (void)snprintf(span, sizeof(span), "%llums",
                       (unsigned long long)(target->deadline_ns / CLOCK_NS_PER_MS));
        common_json_words(&json, "deadline", span);
    }
    common_json_close(&json);
    common_json_end_line(&json);
}

static void print_table(const struct userctl_config *config)
{
    int width = (int)strlen("NAME");

    for (size_t i = 0; i < config->count; i++) {
        int size = (int)strlen(config->targets[i].name);

        width = size > width ? size : width;
    }
    (void)printf("%s  %-*s  TARGET%s\n", userctl_style(stdout, USERCTL_STYLE_TITLE), width, "NAME",
                 userctl_style_end(stdout));
    for (size_t i = 0; i < config->count; i++) {
        const struct userctl_config_target *target = &config->targets[i];

        (void)printf("%s %-*s  ", is_default(config, target) ? "*" : " ", width, target->name);
        common_json_plain(stdout, bytes_from_text(target->target));
        (void)fputc('\n', stdout);
    }
}

int userctl_targets_run(const struct userctl_arguments *arguments)
{
    struct userctl_arguments own = *arguments; /* what is read stays here */
    const struct userctl_config *config = &own.config;
    int exit_code = userctl_arguments_configure(&own);

    if (exit_code == 0 && config->count == 0) {
        (void)fprintf(stderr, "no targets in %s\n",
                      config->path == NULL ? "a configuration file" : config->path);
    } else if (exit_code == 0 && userctl_output_is_json(arguments)) {
        for (size_t i = 0; i < config->count; i++) {
            print_json(config, &config->targets[i]);
        }
    } else if (exit_code == 0) {
        print_table(config);
    }
    userctl_arguments_deinit(&own);
    return exit_code;
}
