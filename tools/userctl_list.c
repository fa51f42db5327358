#include "userctl_list.h"

#include "common_json.h"
#include "userctl_output.h"
#include "userctl_session.h"

#include <inttypes.h>
#include <string.h>

#define PAGE_SIZE_OF_ALL 1000 /* fewer, larger pages when all are wanted */
#define STATUS_WIDTH     9    /* "SUSPENDED" */
#define COLUMN_MAX       40   /* a longer value is cut: one of them would widen all rows */

struct widths {
    int id;
    int username;
    int email;
    int roles;
    bool is_shown; /* the line of titles */
};

/* Columns that a text takes: its characters, were all of them narrow. Control characters, which are
 * shown longer, only cost their row its form. */
static int width(const char *text)
{
    int count = 0;

    for (; *text != '\0'; text++) {
        count += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return count;
}

static int roles_width(const struct user_client_user *user)
{
    int count = 0;

    for (size_t i = 0; i < user->role_count; i++) {
        count += width(user->roles[i]) + (i == 0 ? 0 : 2);
    }
    return count;
}

static int max(int a, int b)
{
    return a > b ? a : b;
}

static int capped(int columns)
{
    return columns > COLUMN_MAX ? COLUMN_MAX : columns;
}

/* Grows only, so that the pages of a walk stay in line as far as they can. The ID, of 64 bytes at
 * most, is shown whole: other commands want it. */
static void measure(struct widths *widths, const struct user_client_page *page)
{
    for (size_t i = 0; i < page->count; i++) {
        const struct user_client_user *user = &page->users[i];

        widths->id = max(widths->id, width(user->id));
        widths->username = max(widths->username, capped(width(user->username)));
        widths->email = max(widths->email, capped(width(user->email)));
        widths->roles = max(widths->roles, capped(roles_width(user)));
    }
}

/* At most so many characters of a text. Returns how many there were. */
static int print_start(const char *text, int columns)
{
    const char *end = text;
    int count = 0;

    for (; *end != '\0'; end++) {
        bool is_first = ((unsigned char)*end & 0xc0) != 0x80;

        if (is_first && count == columns) {
            break;
        }
        count += is_first;
    }
    common_json_plain(stdout, (struct bytes){(const uint8_t *)text, (size_t)(end - text)});
    return count;
}

/* Ends a cell of `size` columns, of which some may not have been printed. */
static void end_cell(int size, int columns)
{
    (void)fputs(size > COLUMN_MAX ? "…" : "", stdout);
    (void)printf("%*s", max(columns - capped(size), 0) + 2, "");
}

static int room_in_cell(int size)
{
    return size > COLUMN_MAX ? COLUMN_MAX - 1 : COLUMN_MAX;
}

static void print_cell(const char *text, int columns)
{
    int size = width(text);

    (void)print_start(text, room_in_cell(size));
    end_cell(size, columns);
}

static void print_roles_cell(const struct user_client_user *user, int columns)
{
    int size = roles_width(user);
    int room = room_in_cell(size);

    for (size_t i = 0; i < user->role_count; i++) {
        room -= print_start(i == 0 ? "" : ", ", room);
        room -= print_start(user->roles[i], room);
    }
    end_cell(size, columns);
}

static void print_row(const struct user_client_user *user, const struct widths *widths)
{
    char number[16];
    char time[USERCTL_TIME_SIZE];

    common_json_plain(stdout, bytes_from_text(user->id));
    (void)printf("%*s", max(widths->id - width(user->id), 0) + 2, "");
    print_cell(user->username, widths->username);
    print_cell(user->email, widths->email);
    print_cell(userctl_output_status(user->status, number), STATUS_WIDTH);
    print_roles_cell(user, widths->roles);
    userctl_output_time(user->created_at_ms, time);
    (void)printf("%s\n", time);
}

static void print_table(const struct user_client_page *page, struct widths *widths)
{
    measure(widths, page);
    if (!widths->is_shown && page->count != 0) {
        widths->is_shown = true;
        (void)printf("%-*s  %-*s  %-*s  %-*s  %-*s  %s\n", widths->id, "ID", widths->username,
                     "USERNAME", widths->email, "EMAIL", STATUS_WIDTH, "STATUS", widths->roles,
                     "ROLES", "CREATED");
    }
    for (size_t i = 0; i < page->count; i++) {
        print_row(&page->users[i], widths);
    }
}

static void print_page(const struct user_client_page *page, struct widths *widths, bool json)
{
    if (!json) {
        print_table(page, widths);
        return;
    }
    for (size_t i = 0; i < page->count; i++) {
        userctl_output_user(&page->users[i], true);
    }
}

static int use_list(struct userctl_session *session, struct user_client *client)
{
    const struct userctl_arguments *arguments = session->arguments;
    bool json = userctl_output_is_json(arguments);
    struct widths widths = {.id = 2, .username = 8, .email = 5, .roles = 5}; /* of the titles */
    struct user_client_list list = {.page_size = arguments->page_size, .filter = arguments->filter};
    struct user_client_page page;
    uint64_t shown = 0;

    if (arguments->all && list.page_size == 0) {
        list.page_size = PAGE_SIZE_OF_ALL;
    }
    do {
        int ret = user_client_list(client, &list, &page);

        if (ret != 0) {
            return userctl_session_failed(session, client, ret);
        }
        print_page(&page, &widths, json);
        shown += page.count;
        list.page_token = page.next_page_token;
    } while (arguments->all && page.next_page_token[0] != '\0' && ferror(stdout) == 0);
    if (ferror(stdout) != 0) {
        return 0; /* said at the end */
    }
    if (page.next_page_token[0] != '\0') {
        (void)fprintf(stderr, "%" PRIu64 " of %" PRId32 " users shown; --all shows the rest\n",
                      shown, page.total_count);
    } else if (!json && shown == 0) {
        (void)fputs("no users\n", stderr);
    }
    return 0;
}

int userctl_list_run(const struct userctl_arguments *arguments)
{
    struct userctl_session session = {.arguments = arguments, .use = use_list};

    return userctl_session_run(&session);
}

static void print_state(const struct user_client_user *user)
{
    char number[16];
    char time[USERCTL_TIME_SIZE];

    userctl_output_time(user->updated_at_ms, time);
    (void)printf("%s  %-*s  ", time, STATUS_WIDTH, userctl_output_status(user->status, number));
    common_json_plain(stdout, bytes_from_text(user->username));
    (void)fputs("  ", stdout);
    common_json_plain(stdout, bytes_from_text(user->email));
    (void)fputs(user->role_count == 0 ? "" : "  ", stdout);
    userctl_output_roles(stdout, user);
    (void)fputc('\n', stdout);
}

/* Each state is shown at once; nobody who cannot read it needs another. */
static bool on_state(void *context, const struct user_client_user *user)
{
    const struct userctl_session *session = context;

    if (userctl_output_is_json(session->arguments)) {
        userctl_output_user(user, true);
    } else {
        print_state(user);
    }
    return fflush(stdout) == 0;
}

static int use_watch(struct userctl_session *session, struct user_client *client)
{
    int ret = user_client_watch(client, session->arguments->operand, on_state, session);
    int exit_code;

    if (ret == 0 || userctl_session_interrupted != 0) {
        return 0;
    }
    exit_code = userctl_session_failed(session, client, ret);
    if (ret == USER_CLIENT_E_FAILED && user_client_failure(client)->cause == CHANNEL_CAUSE_LOST) {
        (void)fputs("the connection is lost, and the watch with it\n", stderr);
    }
    return exit_code;
}

int userctl_watch_run(const struct userctl_arguments *arguments)
{
    struct userctl_session session = {.arguments = arguments, .use = use_watch};
    int ret = userctl_session_need(arguments, "which user? an ID is missing");

    if (ret != 0) {
        return ret;
    }
    userctl_session_catch_signals();
    return userctl_session_run(&session);
}
