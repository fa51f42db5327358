#include "userctl_list.h"

#include "common_json.h"
#include "userctl_output.h"
#include "userctl_session.h"
#include "userctl_terminal.h"

#include <inttypes.h>
#include <string.h>

#define PAGE_SIZE_OF_ALL 1000 /* fewer, larger pages when all are wanted */
#define STATUS_WIDTH     9    /* "SUSPENDED" */
#define TIME_WIDTH       27   /* "2026-01-31 12:34:56.789 UTC" */
#define DATE_WIDTH       10   /* what is left of it on a narrow terminal */
#define GAP              2
#define COLUMN_MAX       40 /* a longer value is cut: one of them would widen all rows */

/* The columns that may be cut. The ID, of 64 bytes at most, is shown whole: other commands want
 * it. */
enum column {
    COLUMN_USERNAME,
    COLUMN_EMAIL,
    COLUMN_ROLES,
    COLUMN_COUNT,
};

struct widths {
    int id;
    int columns[COLUMN_COUNT]; /* that the values have so far */
    int shown[COLUMN_COUNT];   /* the same as the terminal has room for them */
    int time;                  /* of the time of creation; 0 = there is no room for it */
    bool has_titles;           /* the line of titles was shown */
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

static int roles_width(const struct userd_user *user)
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

static void widen(int *column, int columns)
{
    *column = max(*column, columns > COLUMN_MAX ? COLUMN_MAX : columns);
}

/* Shares what the terminal has. The time of creation is shortened, and then left out, before the
 * others are narrower than can be read. */
static void fit(struct widths *widths)
{
    static const int least[COLUMN_COUNT] = {8, 8, 5};
    static const int times[] = {TIME_WIDTH, DATE_WIDTH, 0};
    int width = userctl_terminal_width();
    int least_sum = 0;

    memcpy(widths->shown, widths->columns, sizeof(widths->shown));
    widths->time = TIME_WIDTH;
    if (width == 0) {
        return;
    }
    for (int i = 0; i < COLUMN_COUNT; i++) {
        least_sum += least[i];
    }
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        int left = width - widths->id - STATUS_WIDTH - times[i] - (COLUMN_COUNT + 2) * GAP;

        widths->time = times[i];
        if (left >= least_sum || times[i] == 0) {
            userctl_terminal_fit(widths->shown, least, COLUMN_COUNT, max(left, 1));
            return;
        }
    }
}

/* Grows only, so that the pages of a walk stay in line as far as they can. */
static void measure(struct widths *widths, const struct userd_page *page)
{
    for (size_t i = 0; i < page->count; i++) {
        const struct userd_user *user = page->users[i];

        widths->id = max(widths->id, width(user->id));
        widen(&widths->columns[COLUMN_USERNAME], width(user->username));
        widen(&widths->columns[COLUMN_EMAIL], width(user->email));
        widen(&widths->columns[COLUMN_ROLES], roles_width(user));
    }
    fit(widths);
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

/* Ends a cell of a value of `size` columns, of which some may not have been printed. */
static void end_cell(int size, int columns)
{
    (void)fputs(size > columns ? "…" : "", stdout);
    (void)printf("%*s", max(columns - size, 0) + GAP, "");
}

static int room_in_cell(int size, int columns)
{
    return size > columns ? columns - 1 : columns;
}

static void print_cell(const char *text, int columns)
{
    int size = width(text);

    (void)print_start(text, room_in_cell(size, columns));
    end_cell(size, columns);
}

static void print_roles_cell(const struct userd_user *user, int columns)
{
    int size = roles_width(user);
    int room = room_in_cell(size, columns);

    for (size_t i = 0; i < user->role_count; i++) {
        room -= print_start(i == 0 ? "" : ", ", room);
        room -= print_start(user->roles[i], room);
    }
    end_cell(size, columns);
}

static void print_status_cell(int status)
{
    char number[16];

    (void)fputs(userctl_style(stdout, userctl_output_status_style(status)), stdout);
    print_cell(userctl_output_status(status, number), STATUS_WIDTH);
    (void)fputs(userctl_style_end(stdout), stdout);
}

static void print_row(const struct userd_user *user, const struct widths *widths)
{
    char time[USERCTL_TIME_SIZE];

    print_cell(user->id, widths->id);
    print_cell(user->username, widths->shown[COLUMN_USERNAME]);
    print_cell(user->email, widths->shown[COLUMN_EMAIL]);
    print_status_cell(user->status);
    print_roles_cell(user, widths->shown[COLUMN_ROLES]);
    userctl_output_time(user->created_at_ms, time);
    (void)printf("%.*s\n", widths->time, time);
}

static void print_titles(const struct widths *widths)
{
    (void)printf("%s%-*s  %-*s  %-*s  %-*s  %-*s  %s%s\n",
                 userctl_style(stdout, USERCTL_STYLE_TITLE), widths->id, "ID",
                 widths->shown[COLUMN_USERNAME], "USERNAME", widths->shown[COLUMN_EMAIL], "EMAIL",
                 STATUS_WIDTH, "STATUS", widths->shown[COLUMN_ROLES], "ROLES",
                 widths->time == 0 ? "" : "CREATED", userctl_style_end(stdout));
}

static void print_table(const struct userd_page *page, struct widths *widths)
{
    measure(widths, page);
    if (!widths->has_titles && page->count != 0) {
        widths->has_titles = true;
        print_titles(widths);
    }
    for (size_t i = 0; i < page->count; i++) {
        print_row(page->users[i], widths);
    }
}

static void print_page(const struct userd_page *page, struct widths *widths, bool json)
{
    if (!json) {
        print_table(page, widths);
        return;
    }
    for (size_t i = 0; i < page->count; i++) {
        userctl_output_user(page->users[i], true);
    }
}

static int use_list(struct userctl_session *session, struct userd_client *client)
{
    const struct userctl_arguments *arguments = session->arguments;
    bool json = userctl_output_is_json(arguments);
    struct widths widths = {.id = 2, .columns = {8, 5, 5}}; /* of the titles */
    struct userd_list_request list = {
        .size = sizeof(list), .page_size = arguments->page_size, .filter = arguments->filter};
    const struct userd_page *page;
    uint64_t shown = 0;

    if (arguments->all && list.page_size == 0) {
        list.page_size = PAGE_SIZE_OF_ALL;
    }
    do {
        if (userd_list_users(client, NULL, &list, &page) != USERD_OK) {
            return userctl_session_failed(session, client);
        }
        print_page(page, &widths, json);
        shown += page->count;
        list.page_token = page->next_page_token;
    } while (arguments->all && page->next_page_token[0] != '\0' && ferror(stdout) == 0);
    if (ferror(stdout) != 0) {
        return 0; /* said at the end */
    }
    if (page->next_page_token[0] != '\0') {
        (void)fprintf(stderr, "%" PRIu64 " of %" PRId32 " users shown; --all shows the rest\n",
                      shown, page->total_count);
    } else if (!json && shown == 0) {
        (void)fputs("no users\n", stderr);
    }
    return 0;
}

int userctl_list_run(const struct userctl_arguments *arguments)
{
    /* A page's token is good where it was made. */
    struct userctl_session session = {.arguments = arguments, .use = use_list, .is_walk = true};

    return userctl_session_run(&session);
}
