#include "userctl_output.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NUMBER_SIZE 16

/* Bytes of the character that begins here; 0 when it is not UTF-8. */
static size_t character_size(const unsigned char *text)
{
    unsigned char least = text[0] == 0xe0 ? 0xa0 : text[0] == 0xf0 ? 0x90 : 0x80; /* second byte */
    unsigned char most = text[0] == 0xed ? 0x9f : text[0] == 0xf4 ? 0x8f : 0xbf;
    size_t size = text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;

    if (text[0] < 0x80) {
        return 1;
    }
    if (text[0] < 0xc2 || text[0] > 0xf4 || text[1] < least || text[1] > most) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

/* A text from the server must not be able to drive the terminal: control bytes are shown as \xNN,
 * those of two bytes in UTF-8 (C1, U+0080 to U+009F) too, and so is what is not UTF-8. */
static void print_part(FILE *out, const char *text, size_t text_size, const char *line_start)
{
    const unsigned char *byte = (const unsigned char *)text;
    const unsigned char *end = byte + text_size;

    for (; byte < end; byte++) {
        size_t size = character_size(byte);

        if (*byte == '\n' && line_start != NULL) {
            (void)fprintf(out, "\n%s", byte[1] == '\0' ? "" : line_start);
        } else if (*byte < ' ' || *byte == 0x7f || size == 0) {
            (void)fprintf(out, "\\x%02x", *byte);
        } else if (byte[0] == 0xc2 && byte[1] >= 0x80 && byte[1] <= 0x9f) {
            (void)fprintf(out, "\\x%02x", byte[1]);
            byte++;
        } else {
            (void)fwrite(byte, 1, size, out);
            byte += size - 1;
        }
    }
}

static void print_text(FILE *out, const char *text, const char *line_start)
{
    print_part(out, text, strlen(text), line_start);
}

static void print_row(const char *name, const char *text)
{
    if (text[0] != '\0') {
        (void)printf("%-11s ", name);
        print_text(stdout, text, NULL);
        (void)fputc('\n', stdout);
    }
}

void userctl_output_text(FILE *out, const char *text)
{
    print_text(out, text, NULL);
}

void userctl_output_text_part(FILE *out, const char *text, size_t size)
{
    print_part(out, text, size, NULL);
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

void userctl_output_roles(FILE *out, const struct user_client_user *user)
{
    for (size_t i = 0; i < user->role_count; i++) {
        (void)fputs(i == 0 ? "" : ", ", out);
        print_text(out, user->roles[i], NULL);
    }
}

static void print_roles_row(const struct user_client_user *user)
{
    if (user->role_count == 0) {
        return;
    }
    (void)printf("%-11s ", "roles");
    userctl_output_roles(stdout, user);
    (void)fputc('\n', stdout);
}

const char *userctl_output_status(int status, char *number)
{
    const char *name = user_client_status_name(status);

    if (name != NULL) {
        return name + strlen("USER_STATUS_");
    }
    (void)snprintf(number, NUMBER_SIZE, "%d", status);
    return number;
}

static void print_status_row(int status)
{
    char number[NUMBER_SIZE];

    print_row("status", userctl_output_status(status, number));
}

static void print_table(const struct user_client_user *user)
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

void userctl_output_json_part(FILE *out, const char *text, size_t text_size)
{
    const unsigned char *byte = (const unsigned char *)text;
    const unsigned char *end = byte + text_size;

    (void)fputc('"', out);
    for (; byte < end; byte++) {
        size_t size = character_size(byte);

        if (*byte == '"' || *byte == '\\') {
            (void)fprintf(out, "\\%c", *byte);
        } else if (*byte < ' ' || *byte == 0x7f) {
            (void)fprintf(out, "\\u%04x", *byte);
        } else if (byte[0] == 0xc2 && byte[1] >= 0x80 && byte[1] <= 0x9f) {
            (void)fprintf(out, "\\u%04x", byte[1]);
            byte++;
        } else if (size == 0) {
            (void)fputs("\\ufffd", out);
        } else {
            (void)fwrite(byte, 1, size, out);
            byte += size - 1;
        }
    }
    (void)fputc('"', out);
}

void userctl_output_json_text(FILE *out, const char *text)
{
    userctl_output_json_part(out, text, strlen(text));
}

/* One member. Fields at their default are left out, as the protobuf mapping has it. */
static void print_json_member(const char *name, const char *text, const char **separator)
{
    if (text[0] != '\0') {
        (void)printf("%s\"%s\":", *separator, name);
        userctl_output_json_text(stdout, text);
        *separator = ",";
    }
}

/* 64-bit numbers are strings in the mapping: JSON numbers lose digits beyond 2^53. */
static void print_json_number(const char *name, int64_t number, const char **separator)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRId64, number);
    print_json_member(name, number == 0 ? "" : text, separator);
}

static void print_json_roles(const struct user_client_user *user, const char **separator)
{
    if (user->role_count == 0) {
        return;
    }
    (void)printf("%s\"roles\":[", *separator);
    for (size_t i = 0; i < user->role_count; i++) {
        (void)fputs(i == 0 ? "" : ",", stdout);
        userctl_output_json_text(stdout, user->roles[i]);
    }
    (void)fputc(']', stdout);
    *separator = ",";
}

static void print_json_status(int status, const char **separator)
{
    const char *name = user_client_status_name(status);

    if (status == 0) {
        return;
    }
    if (name != NULL) {
        print_json_member("status", name, separator);
    } else {
        (void)printf("%s\"status\":%d", *separator, status);
        *separator = ",";
    }
}

static void print_json_profile(const struct user_client_user *user, const char **separator)
{
    const char *inner = "";

    if (!user->has_profile) {
        return;
    }
    (void)printf("%s\"profile\":{", *separator);
    print_json_member("first_name", user->first_name, &inner);
    print_json_member("last_name", user->last_name, &inner);
    print_json_member("avatar_url", user->avatar_url, &inner);
    (void)fputc('}', stdout);
    *separator = ",";
}

/* In the order of the field numbers, as other printers do it. */
static void print_json(const struct user_client_user *user)
{
    const char *separator = "";

    (void)fputc('{', stdout);
    print_json_member("id", user->id, &separator);
    print_json_member("username", user->username, &separator);
    print_json_member("email", user->email, &separator);
    print_json_number("created_at", user->created_at_ms, &separator);
    print_json_roles(user, &separator);
    print_json_status(user->status, &separator);
    print_json_profile(user, &separator);
    print_json_number("updated_at", user->updated_at_ms, &separator);
    print_json_member("etag", user->etag, &separator);
    (void)fputs("}\n", stdout);
}

bool userctl_output_is_json(const struct userctl_arguments *arguments)
{
    return arguments->json || !isatty(STDOUT_FILENO);
}

void userctl_output_user(const struct user_client_user *user, bool json)
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
    print_text(stdout, id, NULL);
    (void)fputc('\n', stdout);
}

/* What to try next; NULL when the message says it all. */
static const char *hint_for(const struct userctl_arguments *arguments,
                            const struct user_client_failure *failure)
{
    bool has_token = arguments->token != NULL || arguments->token_file != NULL;

    switch (failure->cause) {
    case CHANNEL_CAUSE_CONNECT:
        return "is userd running there? --target HOST:PORT or USERCTL_TARGET names the server";
    case CHANNEL_CAUSE_TLS:
        return "--ca FILE or USERCTL_CA names who vouches for the server; the certificate must "
               "hold "
               "the host of --target, and the server must speak TLS on that port";
    case CHANNEL_CAUSE_LOST:
        return arguments->plaintext
                   ? "does the server want TLS on that port? then leave out --plaintext"
                   : "the server's log tells why it ended the connection";
    case CHANNEL_CAUSE_DEADLINE:
        return arguments->command == USERCTL_WATCH ? NULL /* it was asked to end so */
                                                   : "--deadline 30s gives the call more time";
    case CHANNEL_CAUSE_ANSWER:
    case CHANNEL_CAUSE_REFUSED:
    case CHANNEL_CAUSE_CANCELLED:
    case CHANNEL_CAUSE_MEMORY:
        break;
    }
    if (failure->status == GRPC_STATUS_UNAUTHENTICATED) {
        return has_token ? "the token may have expired or be signed with another secret"
                         : "--token-file FILE or USERCTL_TOKEN_FILE gives a token; 'userctl token' "
                           "makes one for development";
    }
    if (failure->status == GRPC_STATUS_PERMISSION_DENIED) {
        return "the token has no role that may do this";
    }
    if (failure->status == GRPC_STATUS_ABORTED) {
        return "the user has changed since: get it again, and use its present etag";
    }
    return NULL;
}

int userctl_output_failure(const struct userctl_arguments *arguments,
                           const struct user_client_failure *failure)
{
    const char *hint = hint_for(arguments, failure);

    (void)fprintf(stderr, "userctl: %s: ", grpc_status_name((int)failure->status));
    print_text(stderr, failure->message, NULL);
    (void)fputc('\n', stderr);
    if (failure->details[0] != '\0') {
        (void)fputs("    ", stderr);
        print_text(stderr, failure->details, "    ");
        if (failure->details[strlen(failure->details) - 1] != '\n') {
            (void)fputc('\n', stderr);
        }
    }
    if (hint != NULL) {
        (void)fprintf(stderr, "hint: %s\n", hint);
    }
    return (int)failure->status;
}

/* Whoever read our output has enough of it, as `head` has. The write that failed of it may be long
 * ago and its errno lost, so the pipe itself is asked. */
static bool reader_is_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};

    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

int userctl_output_finish(void)
{
    int error;

    errno = 0;
    if (fflush(stdout) == 0 && ferror(stdout) == 0) {
        return 0;
    }
    error = errno;
    if (error == EPIPE || reader_is_gone()) {
        return USERCTL_EXIT_NO_READER;
    }
    /* Of an earlier write that failed nothing is left to fail again. */
    (void)fprintf(stderr, "userctl: cannot write the result%s%s\n", error == 0 ? "" : ": ",
                  error == 0 ? "" : strerror(error));
    return USERCTL_EXIT_IO;
}
