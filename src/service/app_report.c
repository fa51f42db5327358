#include "core/clock.h"
#include "core/tls.h"
#include "service/app_internal.h"
#include "service/config.h"
#include "service/config_table.h"
#include "service/config_value.h"

#include <stdio.h>
#include <string.h>

/*
 * What the log says of the configuration, of certificates and of reloads. After a reload:
 *
 *   option_changed  for each option that has another value: its name, both values, and whether the
 *                   new one counts from now on or from the next start
 *   reloaded        what asked for it, which options and files were taken, what it took of the loop
 *   restart_needed  the options that were not, again, as one line
 *
 * or reload_failed, once for each mistake.
 */

#define NAMES_SIZE 1024
#define MASKED     "********"

/* One event for each line. */
void app_log_lines(struct app *app, const struct buf *lines,
                   void (*log_line)(struct app *app, const char *line))
{
    struct bytes rest = buf_bytes(lines);

    while (rest.size > 0) {
        const uint8_t *end = memchr(rest.data, '\n', rest.size);
        char line[APP_PROBLEM_SIZE];
        size_t size = end == NULL ? rest.size : (size_t)(end - rest.data);
        size_t shown = size < sizeof(line) ? size : sizeof(line) - 1;

        memcpy(line, rest.data, shown);
        line[shown] = '\0';
        log_line(app, line);
        size += end != NULL;
        rest = (struct bytes){rest.data + size, rest.size - size};
    }
}

static void log_warning(struct app *app, const char *line)
{
    log_event(&app->log, LEVEL_WARN, "configuration", FIELD_TEXT("warning", line));
}

void app_log_warnings(struct app *app, const struct config *config)
{
    app_log_lines(app, &config->warnings, log_warning);
}

int64_t app_now_s(const struct app *app)
{
    return (int64_t)(clock_realtime_ns(app->log.clock) / CLOCK_NS_PER_S);
}

void app_log_certificate(struct app *app)
{
    int64_t not_after_s = tls_context_not_after_s(app->tls);
    char when[APP_TIME_SIZE];

    app_time_format(not_after_s, when);
    switch (app_certificate_judge(not_after_s, app_now_s(app))) {
    case APP_CERTIFICATE_GOOD:
        break;
    case APP_CERTIFICATE_ENDING:
        log_event(&app->log, LEVEL_WARN, "certificate_expires",
                  FIELD_TEXT("file", app->config->tls_cert_file), FIELD_TEXT("not_after", when),
                  FIELD_NUMBER("days", (not_after_s - app_now_s(app)) / (24 * 3600)));
        break;
    case APP_CERTIFICATE_EXPIRED:
        log_event(&app->log, LEVEL_ERROR, "certificate_expired",
                  FIELD_TEXT("file", app->config->tls_cert_file), FIELD_TEXT("not_after", when),
                  FIELD_TEXT("cause", "clients refuse it: replace tls.cert_file and "
                                      "tls.key_file; userd takes them without a restart"));
        break;
    }
}

void app_log_unwatched(struct app *app, int error)
{
    log_event(&app->log, LEVEL_WARN, "files_not_watched", FIELD_TEXT("cause", strerror(-error)),
              FIELD_TEXT("effect", "certificates and keys that change are taken at SIGHUP"));
}

void app_log_reload_failed(struct app *app, const char *cause)
{
    log_event(&app->log, LEVEL_ERROR, "reload_failed", FIELD_TEXT("source", app->reload.source),
              FIELD_TEXT("cause", cause),
              FIELD_TEXT("effect", app->reload.is_whole ? "nothing was changed"
                                                        : "the old one stays in use"));
}

/* A value for people; cut by the log where it is too long. */
static const char *value_text(const struct config *config, const struct config_option *option,
                              struct buf *out)
{
    const void *field = (const char *)config + option->offset;

    if (option->secret) {
        return MASKED;
    }
    if (config_value_format(option, field, out) != 0 || buf_append(out, "", 1) != 0) {
        return "?";
    }
    return (const char *)buf_bytes(out).data;
}

static void log_option(struct app *app, const struct config *fresh,
                       const struct config_option *option)
{
    char name[64];
    struct buf before = {0};
    struct buf now = {0};

    (void)snprintf(name, sizeof(name), "%s.%s", option->section, option->key);
    log_event(&app->log, LEVEL_INFO, "option_changed", FIELD_TEXT("option", name),
              FIELD_TEXT("from", value_text(app->config, option, &before)),
              FIELD_TEXT("to", value_text(fresh, option, &now)),
              FIELD_TEXT("taken", option->reloadable ? "now" : "at the next start"));
    buf_deinit(&before);
    buf_deinit(&now);
}

void app_log_changes(struct app *app, const struct config *fresh, const struct config_diff *diff)
{
    for (unsigned i = 0; i < config_option_count; i++) {
        if (diff->changed[i]) {
            log_option(app, fresh, &config_options[i]);
        }
    }
    if (diff->policy) {
        log_event(&app->log, LEVEL_INFO, "option_changed", FIELD_TEXT("option", "policy"),
                  FIELD_NUMBER("rules_before", app->config->policy.count),
                  FIELD_NUMBER("rules", fresh->policy.count), FIELD_TEXT("taken", "now"));
    }
}

void app_log_reloaded(struct app *app, unsigned files_taken)
{
    const struct app_reload *reload = &app->reload;
    char options[NAMES_SIZE] = "";
    char files[NAMES_SIZE];

    if (reload->is_whole) {
        config_diff_name(&reload->diff, true, options, sizeof(options));
    }
    app_files_name(files_taken, files, sizeof(files));
    log_event(&app->log, LEVEL_INFO, "reloaded", FIELD_TEXT("source", reload->source),
              FIELD_TEXT("options", options[0] == '\0' ? "none" : options),
              FIELD_TEXT("files", files[0] == '\0' ? "none" : files),
              FIELD_NUMBER("us", reload->worked_ns / CLOCK_NS_PER_US));
    if (reload->is_whole && reload->diff.kept > 0) {
        config_diff_name(&reload->diff, false, options, sizeof(options));
        log_event(&app->log, LEVEL_WARN, "restart_needed", FIELD_TEXT("options", options),
                  FIELD_TEXT("cause", "these are taken at the next start"));
    }
}
