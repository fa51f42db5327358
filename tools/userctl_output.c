#include "userctl_output.h"

#include "common_json.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define NUMBER_SIZE 16

static void print_text(const char *text)
{
    common_json_plain(stdout, bytes_from_text(text));
}

static void print_name(const char *name)
{
    (void)printf("%s%-11s%s ", userctl_style(stdout, USERCTL_STYLE_FAINT), name,
                 userctl_style_end(stdout));
}

static void print_row(const char *name, const char *text)
{
    if (text[0] != '\0') {
        print_name(name);
        print_text(text);
        (void)fputc('\n', stdout);
    }
}

void userctl_output_time(int64_t time_ms, char *out)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    char text[48];

    out[0] = '\0';
    if (time_ms <= 0 || gmtime_r(&seconds, &parts) == NULL ||
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts) == 0) {
        return;
    }
    (void)snprintf(out, USERCTL_TIME_SIZE, "%s.%03d UTC", text, (int)(time_ms % 1000));
}

static void print_time_row(const char *name, int64_t time_ms)
{
    char text[USERCTL_TIME_SIZE];

    userctl_output_time(time_ms, text);
    print_row(name, text);
}

void userctl_output_roles(FILE *out, const struct userd_user *user)
{
    for (size_t i = 0; i < user->role_count; i++) {
        (void)fputs(i == 0 ? "" : ", ", out);
        common_json_plain(out, bytes_from_text(user->roles[i]));
    }
}

static void print_roles_row(const struct userd_user *user)
{
    if (user->role_count == 0) {
        return;
    }
    print_name("roles");
    userctl_output_roles(stdout, user);
    (void)fputc('\n', stdout);
}

const char *userctl_output_status(int status, char *number)
{
    const char *name = userd_user_status_name(status);

    if (name != NULL) {
        return name + strlen("USER_STATUS_");
    }
    (void)snprintf(number, NUMBER_SIZE, "%d", status);
    return number;
}

enum userctl_style userctl_output_status_style(int status)
{
    static const enum userctl_style styles[] = {
        [USERD_STATUS_UNSPECIFIED] = USERCTL_STYLE_NONE,
        [USERD_STATUS_ACTIVE] = USERCTL_STYLE_GOOD,
        [USERD_STATUS_INACTIVE] = USERCTL_STYLE_FAINT,
        [USERD_STATUS_SUSPENDED] = USERCTL_STYLE_WARNING,
        [USERD_STATUS_DELETED] = USERCTL_STYLE_BAD,
    };

    return status < 0 || status > USERD_STATUS_DELETED ? USERCTL_STYLE_NONE : styles[status];
}

static void print_status_row(int status)
{
    char number[NUMBER_SIZE];

    print_name("status");
    (void)printf("%s%s%s\n", userctl_style(stdout, userctl_output_status_style(status)),
                 userctl_output_status(status, number), userctl_style_end(stdout));
}

static void print_table(const struct userd_user *user)
{
    print_row("id", user->id);
    print_row("username", user->username);
    print_row("email", user->email);
    print_status_row(user->status);
    print_roles_row(user);
    print_row("first name", user->first_name);
    print_row("last name", user->last_name);
    print_row("avatar", user->avatar_url);
    print_time_row("created", user->created_at_ms);
    print_time_row("updated", user->updated_at_ms);
    print_row("etag", user->etag);
}

/* Fields at their default are left out, as the protobuf mapping has it. */
static void text_member(struct common_json *json, const char *name, const char *text)
{
    common_json_member(json, name, bytes_from_text(text));
}

static void roles_member(struct common_json *json, const struct userd_user *user)
{
    if (user->role_count == 0) {
        return;
    }
    common_json_open_list(json, "roles");
    for (size_t i = 0; i < user->role_count; i++) {
        common_json_words(json, NULL, user->roles[i]);
    }
    common_json_close_list(json);
}

static void profile_member(struct common_json *json, const struct userd_user *user)
{
    if (!user->has_profile) {
        return;
    }
    common_json_open(json, "profile");
    text_member(json, "first_name", user->first_name);
    text_member(json, "last_name", user->last_name);
    text_member(json, "avatar_url", user->avatar_url);
    common_json_close(json);
}

/* In the order of the field numbers, as other printers do it. */
static void print_json(const struct userd_user *user)
{
    struct common_json json = {.out = stdout};

    common_json_open(&json, NULL);
    text_member(&json, "id", user->id);
    text_member(&json, "username", user->username);
    text_member(&json, "email", user->email);
    common_json_int64_member(&json, "created_at", user->created_at_ms);
    roles_member(&json, user);
    common_json_status(&json, user->status);
    profile_member(&json, user);
    common_json_int64_member(&json, "updated_at", user->updated_at_ms);
    text_member(&json, "etag", user->etag);
    common_json_close(&json);
    common_json_end_line(&json);
}

bool userctl_output_is_json(const struct userctl_arguments *arguments)
{
    return arguments->json || !isatty(STDOUT_FILENO);
}

void userctl_output_user(const struct userd_user *user, bool json)
{
    if (json) {
        print_json(user);
    } else {
        print_table(user);
    }
}

void userctl_output_deleted(const char *id, bool success, bool json)
{
    if (json) {
        (void)fputs(success ? "{\"success\":true}\n" : "{}\n", stdout);
        return;
    }
    (void)fputs(success ? "deleted " : "not deleted: ", stdout);
    print_text(id);
    (void)fputc('\n', stdout);
}
