#include "userctl_config.h"

#include "core/ini.h"
#include "core/nearest_name.h"
#include "core/slurp.h"
#include "userctl_time.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_SIZE_MAX  (1024 * 1024)
#define NEAR_STEPS_MAX 3
#define TARGET_START   "target "

/* What a value is. */
enum kind {
    KIND_TEXT,
    KIND_FILE,
    KIND_TRUTH,
    KIND_TIME,
    KIND_BALANCING,
};

struct key {
    const char *name;
    enum kind kind;
    size_t offset; /* in the target */
};

#define AT(member) offsetof(struct userctl_config_target, member)

static const struct key keys[] = {
    {"target", KIND_TEXT, AT(target)},           {"ca", KIND_FILE, AT(ca_file)},
    {"cert", KIND_FILE, AT(cert_file)},          {"key", KIND_FILE, AT(key_file)},
    {"token_file", KIND_FILE, AT(token_file)},   {"plaintext", KIND_TRUTH, AT(plaintext)},
    {"deadline", KIND_TIME, AT(deadline_ns)},    {"lb", KIND_BALANCING, AT(balancing)},
    {"server_name", KIND_TEXT, AT(server_name)},
};

#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

/* What is being read. */
struct reading {
    struct userctl_config *config;
    char *problem;
    int line;
    int default_line;
    bool seen[KEY_COUNT]; /* of the present target */
};

__attribute__((format(printf, 2, 3))) static int refuse(const struct reading *reading,
                                                        const char *format, ...)
{
    char text[USERCTL_CONFIG_PROBLEM_SIZE / 2];
    va_list values;

    va_start(values, format);
    (void)vsnprintf(text, sizeof(text), format, values);
    va_end(values);
    (void)snprintf(reading->problem, USERCTL_CONFIG_PROBLEM_SIZE, "%s:%d: %s",
                   reading->config->path, reading->line, text);
    return USERCTL_CONFIG_E_BAD;
}

/* "; did you mean 'target'?", or nothing. */
static void near_text(const struct nearest_name *nearest, char *out, size_t room)
{
    out[0] = '\0';
    if (nearest->name.data != NULL) {
        (void)snprintf(out, room, "; did you mean '%.*s'?", (int)nearest->name.size,
                       (const char *)nearest->name.data);
    }
}

char *userctl_config_default_path(void)
{
    const char *folder = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    char *path = NULL;
    int size = -1;

    if (folder != NULL && folder[0] == '/') {
        size = asprintf(&path, "%s/userctl.ini", folder);
    } else if (home != NULL && home[0] == '/') {
        size = asprintf(&path, "%s/.config/userctl.ini", home);
    }
    return size < 0 ? NULL : path;
}

/* As it can be opened: "~/" is the home, and other names are relative to the configuration. */
static char *file_of(const struct userctl_config *config, const char *value)
{
    const char *slash = strrchr(config->path, '/');
    const char *home = getenv("HOME");
    char *path = NULL;
    int size;

    if (strncmp(value, "~/", 2) == 0 && home != NULL) {
        size = asprintf(&path, "%s%s", home, value + 1);
    } else if (value[0] == '/' || slash == NULL) {
        return strdup(value);
    } else {
        size = asprintf(&path, "%.*s/%s", (int)(slash - config->path), config->path, value);
    }
    return size < 0 ? NULL : path;
}

static int take_truth(const struct reading *reading, const char *value, bool *ret_truth)
{
    bool is_yes = strcmp(value, "yes") == 0 || strcmp(value, "true") == 0;

    if (!is_yes && strcmp(value, "no") != 0 && strcmp(value, "false") != 0) {
        return refuse(reading, "plaintext is yes or no");
    }
    *ret_truth = is_yes;
    return 0;
}

static int take_value(const struct reading *reading, const struct key *key, const char *value,
                      struct userctl_config_target *target)
{
    void *place = (char *)target + key->offset;
    char **text = place;

    if (value[0] == '\0') {
        return refuse(reading, "'%s' has no value", key->name);
    }
    switch (key->kind) {
    case KIND_TRUTH:
        return take_truth(reading, value, place);
    case KIND_TIME:
        return userctl_span_parse(value, place)
                   ? 0
                   : refuse(reading, "'%s' is no time such as 500ms, 5s, 1m, 1h", value);
    case KIND_BALANCING:
        if (strcmp(value, "round_robin") != 0 && strcmp(value, "pick_first") != 0) {
            return refuse(reading, "lb is round_robin or pick_first");
        }
        break;
    case KIND_FILE:
        *text = file_of(reading->config, value);
        return *text == NULL ? refuse(reading, "out of memory") : 0;
    case KIND_TEXT:
        break;
    }
    *text = strdup(value);
    return *text == NULL ? refuse(reading, "out of memory") : 0;
}

static int take_key(struct reading *reading, const char *name, const char *value,
                    struct userctl_config_target *target)
{
    struct nearest_name nearest;
    char near[80];

    nearest_name_begin(&nearest, bytes_from_text(name), NEAR_STEPS_MAX);
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (strcmp(keys[i].name, name) == 0) {
            if (reading->seen[i]) {
                return refuse(reading, "'%s' is there twice", name);
            }
            reading->seen[i] = true;
            return take_value(reading, &keys[i], value, target);
        }
        nearest_name_offer(&nearest, bytes_from_text(keys[i].name));
    }
    near_text(&nearest, near, sizeof(near));
    return refuse(reading, "there is no key '%s'%s", name, near);
}

static struct userctl_config_target *target_of(const struct userctl_config *config,
                                               const char *name)
{
    for (size_t i = 0; i < config->count; i++) {
        if (strcmp(config->targets[i].name, name) == 0) {
            return &config->targets[i];
        }
    }
    return NULL;
}

static int begin_target(struct reading *reading, const char *name,
                        struct userctl_config_target **ret_target)
{
    struct userctl_config *config = reading->config;
    struct userctl_config_target *target;

    if (config->count == USERCTL_CONFIG_TARGETS_MAX) {
        return refuse(reading, "there are more than %d targets", USERCTL_CONFIG_TARGETS_MAX);
    }
    target = &config->targets[config->count];
    *target = (struct userctl_config_target){.name = strdup(name), .line = reading->line};
    if (target->name == NULL) {
        return refuse(reading, "out of memory");
    }
    config->count++;
    memset(reading->seen, 0, sizeof(reading->seen));
    *ret_target = target;
    return 0;
}

static int take_target(struct reading *reading, const char *name, const char *key,
                       const char *value)
{
    struct userctl_config *config = reading->config;
    struct userctl_config_target *target = target_of(config, name);
    int ret = 0;

    if (name[0] == '\0' || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                        "0123456789._-") != strlen(name)) {
        return refuse(reading, "a target's name is made of letters, digits, '.', '_' and '-'");
    }
    if (target == NULL) {
        ret = begin_target(reading, name, &target);
    } else if (target != &config->targets[config->count - 1]) {
        return refuse(reading, "[target %s] is there twice, first at line %d", name, target->line);
    }
    return ret == 0 ? take_key(reading, key, value, target) : ret;
}

static int take_default(struct reading *reading, const char *key, const char *value)
{
    struct userctl_config *config = reading->config;

    if (strcmp(key, "target") != 0) {
        return refuse(reading, "there is no key '%s' in [default]; did you mean 'target'?", key);
    }
    if (config->default_target != NULL) {
        return refuse(reading, "'target' is there twice");
    }
    reading->default_line = reading->line;
    config->default_target = strdup(value);
    return config->default_target == NULL ? refuse(reading, "out of memory") : 0;
}

static int on_entry(void *context, const char *section, const char *key, const char *value,
                    int line)
{
    struct reading *reading = context;
    struct nearest_name nearest;
    char near[80];

    reading->line = line;
    if (strncmp(section, TARGET_START, strlen(TARGET_START)) == 0) {
        return take_target(reading, section + strlen(TARGET_START), key, value);
    }
    if (strcmp(section, "default") == 0) {
        return take_default(reading, key, value);
    }
    if (section[0] == '\0') {
        return refuse(reading, "'%s' stands in no section: [target NAME] or [default]", key);
    }
    nearest_name_begin(&nearest, bytes_from_text(section), NEAR_STEPS_MAX);
    nearest_name_offer(&nearest, BYTES_LITERAL("default"));
    nearest_name_offer(&nearest, BYTES_LITERAL("target NAME"));
    near_text(&nearest, near, sizeof(near));
    return refuse(reading, "there is no section [%s], only [target NAME] and [default]%s", section,
                  near);
}

/* Every target has an address, and [default] names one of them. */
static int check_whole(struct reading *reading)
{
    struct userctl_config *config = reading->config;
    const struct userctl_config_target *ignored;

    for (size_t i = 0; i < config->count; i++) {
        if (config->targets[i].target == NULL) {
            reading->line = config->targets[i].line;
            return refuse(reading, "[target %s] has no 'target'", config->targets[i].name);
        }
    }
    reading->line = reading->default_line;
    if (config->default_target != NULL && target_of(config, config->default_target) == NULL) {
        char problem[USERCTL_CONFIG_PROBLEM_SIZE];

        (void)userctl_config_find(config, config->default_target, problem, &ignored);
        return refuse(reading, "%s", problem);
    }
    return 0;
}

/* A section without a key is told to nobody; of a target it is a mistake all the same. */
static int check_sections(struct reading *reading, const char *text)
{
    const char *open = NULL; /* "[target NAME]" without a key so far */
    int line = 1;

    for (;; line++) {
        const char *start = text + strspn(text, " \t\r");
        bool is_section = *start == '[';
        bool is_entry = strchr("\n;#", *start) == NULL && !is_section; /* the NUL is in there too */

        if (open != NULL && (is_section || *start == '\0')) {
            return refuse(reading, "%.*s has no 'target'", (int)strcspn(open, "\r\n"), open);
        }
        if (*start == '\0') {
            return 0;
        }
        if (is_section && strncmp(start + 1, TARGET_START, strlen(TARGET_START)) == 0) {
            open = start;
            reading->line = line;
        } else if (is_entry) {
            open = NULL;
        }
        text = start + strcspn(start, "\n");
        text += *text == '\n';
    }
}

int userctl_config_parse(const char *text, const char *path, char *problem,
                         struct userctl_config *ret_config)
{
    struct reading reading = {.config = ret_config, .problem = problem};
    int line = 0;
    int ret;

    *ret_config = (struct userctl_config){
        .path = strdup(path),
        .targets = calloc(USERCTL_CONFIG_TARGETS_MAX, sizeof(*ret_config->targets)),
    };
    if (ret_config->path == NULL || ret_config->targets == NULL) {
        (void)snprintf(problem, USERCTL_CONFIG_PROBLEM_SIZE, "out of memory");
        return USERCTL_CONFIG_E_BAD;
    }
    ret = ini_read_text(text, on_entry, &reading, &line);
    reading.line = line;
    if (ret == INI_E_STOPPED) {
        return USERCTL_CONFIG_E_BAD;
    }
    if (ret == INI_E_SYNTAX) {
        return refuse(&reading, "this is neither a [section] nor KEY = VALUE");
    }
    if (ret != 0) {
        return refuse(&reading, "%s", strerror(-ret));
    }
    ret = check_sections(&reading, text);
    return ret == 0 ? check_whole(&reading) : ret;
}

int userctl_config_read(const char *path, bool must_exist, char *problem,
                        struct userctl_config *ret_config)
{
    struct stat about;
    char *text;
    size_t size;
    int ret = slurp_file(path, FILE_SIZE_MAX, &text, &size);

    *ret_config = (struct userctl_config){0};
    problem[0] = '\0';
    if (ret == -EACCES && !must_exist) { /* the home of somebody else, as under sudo */
        (void)snprintf(problem, USERCTL_CONFIG_PROBLEM_SIZE,
                       "%s may not be read and is left out; --config or USERCTL_CONFIG names "
                       "another one",
                       path);
    }
    if ((ret == -ENOENT || ret == -ENOTDIR || ret == -EACCES) && !must_exist) {
        return userctl_config_parse("", path, problem, ret_config);
    }
    if (ret != 0) {
        (void)snprintf(problem, USERCTL_CONFIG_PROBLEM_SIZE, "cannot read %s: %s", path,
                       ret > 0 ? "it is too large" : strerror(-ret));
        return USERCTL_CONFIG_E_BAD;
    }
    if (stat(path, &about) == 0 && S_ISREG(about.st_mode) && (about.st_mode & S_IWOTH) != 0) {
        ret = USERCTL_CONFIG_E_BAD;
        (void)snprintf(problem, USERCTL_CONFIG_PROBLEM_SIZE,
                       "%s can be written by everybody, who could have your token sent elsewhere: "
                       "chmod 600 it",
                       path);
    } else {
        ret = strlen(text) == size ? userctl_config_parse(text, path, problem, ret_config)
                                   : USERCTL_CONFIG_E_BAD;
        if (strlen(text) != size) {
            (void)snprintf(problem, USERCTL_CONFIG_PROBLEM_SIZE, "%s has a zero byte in it", path);
        }
    }
    slurp_free(text, size);
    return ret;
}

void userctl_config_deinit(struct userctl_config *config)
{
    for (size_t i = 0; i < config->count; i++) {
        struct userctl_config_target *target = &config->targets[i];

        free(target->name);
        free(target->target);
        free(target->ca_file);
        free(target->cert_file);
        free(target->key_file);
        free(target->server_name);
        free(target->token_file);
        free(target->balancing);
    }
    free(config->targets);
    free(config->default_target);
    free(config->path);
    *config = (struct userctl_config){0};
}

/* Who can read it could act in its owner's name. One that cannot be opened shows later. */
static int check_secret(const struct userctl_config *config, const char *file, const char *key,
                        char *problem)
{
    struct stat about;

    if (file == NULL || stat(file, &about) != 0 || (about.st_mode & S_IROTH) == 0) {
        return 0;
    }
    (void)snprintf(problem, USERCTL_CONFIG_PROBLEM_SIZE,
                   "%s names %s as a '%s', which everybody may read: chmod 600 it", config->path,
                   file, key);
    return USERCTL_CONFIG_E_BAD;
}

int userctl_config_find(const struct userctl_config *config, const char *name, char *problem,
                        const struct userctl_config_target **ret_target)
{
    const struct userctl_config_target *target = target_of(config, name);
    struct nearest_name nearest;
    char near[160];

    if (target == NULL) {
        nearest_name_begin(&nearest, bytes_from_text(name), NEAR_STEPS_MAX);
        for (size_t i = 0; i < config->count; i++) {
            nearest_name_offer(&nearest, bytes_from_text(config->targets[i].name));
        }
        near_text(&nearest, near, sizeof(near));
        (void)snprintf(problem, USERCTL_CONFIG_PROBLEM_SIZE, "there is no target '%s' in %s%s",
                       name, config->path, near);
        return USERCTL_CONFIG_E_BAD;
    }
    *ret_target = target;
    if (check_secret(config, target->token_file, "token_file", problem) != 0) {
        return USERCTL_CONFIG_E_BAD;
    }
    return check_secret(config, target->key_file, "key", problem);
}
