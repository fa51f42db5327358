#include "userctl_commands.h"

#include "core/slurp.h"
#include "userctl_call.h"
#include "userctl_completion.h"
#include "userctl_describe.h"
#include "userctl_health.h"
#include "userctl_import.h"
#include "userctl_list.h"
#include "userctl_output.h"
#include "userctl_secret.h"
#include "userctl_session.h"
#include "userctl_targets.h"
#include "userctl_token.h"
#include "userctl_watch.h"

#include <stdlib.h>
#include <string.h>

#define PATHS_MAX       32
#define FIELD_NAME_SIZE 32 /* more than the longest that exists */

/* A text cut at its commas. */
struct words {
    char *text; /* our copy */
    const char *words[PATHS_MAX];
    size_t count;
};

/* What an update is made of, beside the arguments that it points into. */
struct change {
    struct userd_change update;
    struct userd_user user;                        /* what it is set to */
    char names[USERCTL_SETS_MAX][FIELD_NAME_SIZE]; /* of the fields that are set */
    const char *set_fields[USERCTL_SETS_MAX];      /* the same, as a mask */
    struct words roles;
    struct words mask;
};

static int split(const struct userctl_arguments *arguments, const char *text, struct words *words)
{
    char *rest = NULL;

    words->text = strdup(text);
    if (words->text == NULL) {
        return userctl_arguments_refuse(arguments, "out of memory");
    }
    for (char *word = strtok_r(words->text, ",", &rest); word != NULL;
         word = strtok_r(NULL, ",", &rest)) {
        if (words->count == PATHS_MAX) {
            return userctl_arguments_refuse(arguments, "'%s' has more than %d parts", text,
                                            PATHS_MAX);
        }
        words->words[words->count++] = word;
    }
    return 0;
}

static int show(struct userctl_session *session, struct userd_client *client, enum userd_code code,
                const struct userd_user *user)
{
    if (code != USERD_OK) {
        return userctl_session_failed(session, client);
    }
    userctl_output_user(user, userctl_output_is_json(session->arguments));
    return 0;
}

static int use_get(struct userctl_session *session, struct userd_client *client)
{
    const struct userd_user *user;
    enum userd_code code = userd_get_user(client, NULL, session->arguments->operand, &user);

    return show(session, client, code, user);
}

static int run_get(const struct userctl_arguments *arguments)
{
    struct userctl_session session = {.arguments = arguments, .use = use_get};
    int ret = userctl_session_need(arguments, "which user? an ID is missing");

    return ret != 0 ? ret : userctl_session_run(&session);
}

static int use_create(struct userctl_session *session, struct userd_client *client)
{
    const struct userd_user *user;
    enum userd_code code = userd_create_user(client, NULL, session->request, &user);

    return show(session, client, code, user);
}

static int run_create(const struct userctl_arguments *arguments)
{
    struct userd_new_user create = {
        .size = sizeof(create),
        .username = arguments->username,
        .email = arguments->email,
        .request_id = arguments->request_id,
    };
    struct userctl_session session = {
        .arguments = arguments, .use = use_create, .request = &create};
    char *password;
    size_t size;
    int ret;

    if (arguments->username == NULL || arguments->email == NULL) {
        return userctl_arguments_refuse(arguments, "--username and --email are required");
    }
    ret = userctl_secret_password(arguments, &password, &size);
    if (ret != 0) {
        return ret;
    }
    create.password = password;
    ret = userctl_session_run(&session);
    slurp_free(password, size);
    return ret;
}

static int use_delete(struct userctl_session *session, struct userd_client *client)
{
    const struct userctl_arguments *arguments = session->arguments;
    bool success;
    enum userd_code code =
        userd_delete_user(client, NULL, arguments->operand, arguments->etag, &success);

    if (code != USERD_OK) {
        return userctl_session_failed(session, client);
    }
    userctl_output_deleted(arguments->operand, success, userctl_output_is_json(arguments));
    return 0;
}

static int run_delete(const struct userctl_arguments *arguments)
{
    struct userctl_session session = {.arguments = arguments, .use = use_delete};
    int ret = userctl_session_need(arguments, "which user? an ID is missing");

    return ret != 0 ? ret : userctl_session_run(&session);
}

static void change_deinit(struct change *change)
{
    free(change->roles.text);
    free(change->mask.text);
}

static int set_status(const struct userctl_arguments *arguments, struct change *change,
                      const char *value)
{
    int status = value[0] == '\0' ? 0 : userd_user_status_from_name(value);

    if (status < 0) {
        return userctl_arguments_refuse(arguments,
                                        "'%s' is no status: ACTIVE, INACTIVE or SUSPENDED", value);
    }
    change->user.status = status;
    return 0;
}

static int set_roles(const struct userctl_arguments *arguments, struct change *change,
                     const char *value)
{
    int ret = split(arguments, value, &change->roles);

    change->user.roles = change->roles.words;
    change->user.role_count = change->roles.count;
    return ret;
}

/* Where the text of a field goes; NULL when it is not a text or there is no such field. */
static const char **text_field(struct userd_user *user, const char *name)
{
    const struct {
        const char *name;
        const char **text;
    } fields[] = {
        {"username", &user->username},
        {"email", &user->email},
        {"profile.first_name", &user->first_name},
        {"profile.last_name", &user->last_name},
        {"profile.avatar_url", &user->avatar_url},
    };

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return fields[i].text;
        }
    }
    return NULL;
}

static int set_field(const struct userctl_arguments *arguments, struct change *change,
                     const char *name, const char *value)
{
    struct userd_user *user = &change->user;
    const char **text = text_field(user, name);

    if (text != NULL) {
        *text = value;
        user->has_profile = user->has_profile || strncmp(name, "profile.", 8) == 0;
        return 0;
    }
    if (strcmp(name, "status") == 0) {
        return set_status(arguments, change, value);
    }
    if (strcmp(name, "roles") == 0) {
        return set_roles(arguments, change, value);
    }
    return userctl_arguments_refuse(arguments, "there is no field '%s' to set", name);
}

static int take_set(const struct userctl_arguments *arguments, struct change *change,
                    unsigned index)
{
    const char *set = arguments->sets[index];
    const char *equals = strchr(set, '=');
    size_t size = (size_t)(equals - set);
    char *name = change->names[index];

    if (size >= FIELD_NAME_SIZE) {
        return userctl_arguments_refuse(arguments, "there is no field '%.*s' to set", (int)size,
                                        set);
    }
    memcpy(name, set, size);
    name[size] = '\0';
    change->set_fields[index] = name;
    for (unsigned i = 0; i < index; i++) {
        if (strcmp(change->set_fields[i], name) == 0) {
            return userctl_arguments_refuse(arguments, "field '%s' is set twice", name);
        }
    }
    return set_field(arguments, change, name, equals + 1);
}

/* The mask is what --mask says, or else exactly what --set names. */
static int read_change(const struct userctl_arguments *arguments, struct change *change)
{
    int ret = 0;

    for (unsigned i = 0; ret == 0 && i < arguments->set_count; i++) {
        ret = take_set(arguments, change, i);
    }
    if (ret != 0) {
        return ret;
    }
    if (arguments->mask == NULL) {
        change->update.mask = change->set_fields;
        change->update.mask_count = arguments->set_count;
        return 0;
    }
    ret = split(arguments, arguments->mask, &change->mask);
    change->update.mask = change->mask.words;
    change->update.mask_count = change->mask.count;
    return ret;
}

static int use_update(struct userctl_session *session, struct userd_client *client)
{
    const struct userd_user *user;
    enum userd_code code = userd_update_user(client, NULL, session->request, &user);

    return show(session, client, code, user);
}

static int run_update(const struct userctl_arguments *arguments)
{
    struct change change = {
        .update = {.size = sizeof(change.update), .id = arguments->operand, .user = &change.user},
        .user = {.size = sizeof(change.user), .etag = arguments->etag},
    };
    struct userctl_session session = {
        .arguments = arguments,
        .use = use_update,
        .request = &change.update,
    };
    int ret = userctl_session_need(arguments, "which user? an ID is missing");

    if (ret != 0) {
        return ret;
    }
    ret = read_change(arguments, &change);
    if (ret == 0 && change.update.mask_count == 0) {
        ret =
            userctl_arguments_refuse(arguments, "what is to change? --set FIELD=VALUE is missing");
    }
    if (ret == 0) {
        ret = userctl_session_run(&session);
    }
    change_deinit(&change);
    return ret;
}

static int run_help(const struct userctl_arguments *arguments)
{
    enum userctl_command about = USERCTL_NONE;

    if (arguments->operand != NULL) {
        about = userctl_arguments_command(arguments->operand);
        if (about == USERCTL_NONE) {
            return userctl_arguments_refuse(arguments, "there is no command '%s'",
                                            arguments->operand);
        }
    }
    userctl_arguments_help(stdout, about);
    return 0;
}

static int run_completion(const struct userctl_arguments *arguments)
{
    const char *shell = arguments->operand == NULL ? "" : arguments->operand;

    if (strcmp(shell, "bash") == 0) {
        userctl_completion_bash(stdout);
    } else if (strcmp(shell, "zsh") == 0) {
        userctl_completion_zsh(stdout);
    } else {
        return userctl_arguments_refuse(arguments, "for which shell? bash or zsh");
    }
    return 0;
}

int userctl_commands_run(const struct userctl_arguments *arguments)
{
    static int (*const commands[USERCTL_COMMAND_COUNT])(const struct userctl_arguments *) = {
        [USERCTL_GET] = run_get,
        [USERCTL_CREATE] = run_create,
        [USERCTL_UPDATE] = run_update,
        [USERCTL_DELETE] = run_delete,
        [USERCTL_LIST] = userctl_list_run,
        [USERCTL_WATCH] = userctl_watch_run,
        [USERCTL_IMPORT] = userctl_import_run,
        [USERCTL_SYNC] = userctl_import_run,
        [USERCTL_HEALTH] = userctl_health_run,
        [USERCTL_CALL] = userctl_call_run,
        [USERCTL_DESCRIBE] = userctl_describe_run,
        [USERCTL_TOKEN] = userctl_token_run,
        [USERCTL_TARGETS] = userctl_targets_run,
        [USERCTL_COMPLETION] = run_completion,
        [USERCTL_HELP] = run_help,
    };

    return commands[arguments->command](arguments);
}
