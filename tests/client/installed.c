/*
 * A C program that uses the installed library: TARGET CA_FILE TOKEN_FILE NAME
 *
 * It is also compiled with the header of an older and of a newer release (other_header.py).
 *
 * It has functions of its own with names that the library uses inside: neither may meet the
 * other's.
 */
#include <userd/client.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Never called by anybody. */
void buf_append(void);
void conn_close(void);
void reactor_init(void);
void ring_wait(void);
void channel_start(void);
#ifndef USERD_TEST_SHARES_WOLFSSL
void wolfSSL_Init(void);
#endif
void users__v1__user__init(void);

void buf_append(void)
{
    abort();
}

void conn_close(void)
{
    abort();
}

void reactor_init(void)
{
    abort();
}

void ring_wait(void)
{
    abort();
}

void channel_start(void)
{
    abort();
}

#ifndef USERD_TEST_SHARES_WOLFSSL
void wolfSSL_Init(void)
{
    abort();
}
#endif

void users__v1__user__init(void)
{
    abort();
}

static int fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "%s: %s\n", what, why);
    return 1;
}

static void on_user(void *context, const struct userd_error *error, const struct userd_user *user)
{
    *(int *)context = error->code == USERD_OK && user->username[0] != '\0' ? 1 : 2;
}

/* A newer program may know fields that this library does not, and wish for nothing in them. */
static int use_newer(struct userd_client *client, struct userd_new_user *new_user,
                     const struct userd_user *user, struct userd_stats *stats)
{
#ifdef USERD_TEST_NEWER
    if (USERD_HAS(user, later) || USERD_HAS(stats, later) || stats->later != NULL ||
        USERD_HAS(userd_client_error(client), later)) {
        return fail("newer", "a field that cannot be there");
    }
    new_user->later = "wish";
    if (userd_create_user(client, NULL, new_user, NULL) != USERD_INVALID_ARGUMENT) {
        return fail("newer", "a wish that cannot be granted was taken");
    }
#else
    (void)client;
    (void)new_user;
    (void)user;
    (void)stats;
#endif
    return 0;
}

/* Each kind of struct once; what lies right behind them in memory is not theirs. */
static int use_structs(struct userd_client *client, const char *id, struct userd_new_user *new_user)
{
    struct {
        struct userd_stats stats;
        unsigned char behind[64];
        struct userd_backend backend;
        unsigned char behind_that[64];
    } own = {.stats = USERD_STATS_INIT, .backend = USERD_BACKEND_INIT};
    struct userd_list_request list = USERD_LIST_REQUEST_INIT;
    struct userd_change change = USERD_CHANGE_INIT;
    struct userd_user wanted = USERD_USER_INIT;
    const struct userd_user *user;
    const struct userd_page *page;

    wanted.first_name = "Ada";
    change.id = id;
    change.user = &wanted;
    if (userd_update_user(client, NULL, &change, &user) != USERD_OK ||
        strcmp(user->first_name, "Ada") != 0 || !USERD_HAS(user, updated_at_ms)) {
        return fail("update", userd_client_error(client)->message);
    }
    list.page_size = 2;
    if (userd_list_users(client, NULL, &list, &page) != USERD_OK || page->count == 0 ||
        page->users[page->count - 1]->id[0] == '\0') {
        return fail("list", userd_client_error(client)->message);
    }
    memset(own.behind, 0x55, sizeof(own.behind));
    memset(own.behind_that, 0x55, sizeof(own.behind_that));
    if (userd_client_stats(client, &own.stats) != 0 || own.stats.calls < 2) {
        return fail("statistics", "there are none");
    }
    /* Where localhost is ::1 as well, the calls may have gone to the second backend. */
    for (unsigned i = 0; i == 0 || own.backend.calls < 2; i++) {
        if (userd_client_backend(client, i, &own.backend) != 0) {
            return fail("statistics", "no backend has had the calls");
        }
    }
    for (size_t i = 0; i < sizeof(own.behind); i++) {
        if (own.behind[i] != 0x55 || own.behind_that[i] != 0x55) {
            return fail("statistics", "more was filled in than there is");
        }
    }
    if (userd_get_user(client, NULL, id, &user) != USERD_OK) {
        return fail("get", userd_client_error(client)->message);
    }
    return use_newer(client, new_user, user, &own.stats);
}

static int run(struct userd_client *client, const char *name)
{
    struct userd_new_user new_user = USERD_NEW_USER_INIT;
    const struct userd_user *user;
    char email[128];
    char id[64];
    int told = 0;

    (void)snprintf(email, sizeof(email), "%s@example.com", name);
    new_user.username = name;
    new_user.email = email;
    new_user.password = "correct horse battery";
    if (userd_create_user(client, NULL, &new_user, &user) != USERD_OK) {
        return fail("create", userd_client_error(client)->message);
    }
    (void)snprintf(id, sizeof(id), "%s", user->id);
    if (userd_get_user(client, NULL, id, &user) != USERD_OK || strcmp(user->username, name) != 0) {
        return fail("get", userd_client_error(client)->message);
    }
    if (userd_get_user(client, NULL, "nobody", &user) != USERD_NOT_FOUND) {
        return fail("get nobody", userd_code_name((int)userd_client_error(client)->code));
    }
    if (userd_start_get_user(client, NULL, id, on_user, &told) == NULL) {
        return fail("start", userd_last_problem());
    }
    while (told == 0 && userd_client_run(client, USERD_NO_TIMEOUT) == 0) {
    }
    return told == 1 ? use_structs(client, id, &new_user) : fail("event", "no user");
}

int main(int argc, char **argv)
{
    struct userd_client_options options = USERD_CLIENT_OPTIONS_INIT;
    struct userd_client *client;
    int ret;

    if (argc != 5) {
        return fail("usage", "TARGET CA_FILE TOKEN_FILE NAME");
    }
    options.target = argv[1];
    options.ca_file = argv[2];
    options.token_file = argv[3];
    if (userd_client_new(&options, &client) != 0) {
        return fail("client", userd_last_problem());
    }
    ret = run(client, argv[4]);
    userd_client_free(client);
    if (ret == 0) {
        (void)printf("ok with %s, %s\n", userd_client_version(), userd_client_tls_library());
    }
    return ret;
}
