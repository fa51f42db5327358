/*
 * The whole of users.v1 from C: both faces of libuserd-client in one program.
 *
 *     make && ./users TARGET CA_FILE TOKEN_FILE [WATCH_SECONDS]
 *     ./users dns:///localhost:50051 run/certs/ca.pem run/certs/token 2
 *
 * A target of dns:///name:port stands for all addresses of the name; calls go to each in turn.
 */
#include <userd/client.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH 20
#define SYNC  50

static char run_name[32]; /* makes the names of this run unlike those of another */

/* ------------------------------------------------------------- how a call failed */

static void print_error(const char *what, const struct userd_error *error)
{
    printf("%s: %s: %s\n", what, userd_code_name((int)error->code), error->message);
    for (const char *line = error->details; *line != 0; line += strspn(line, "\n")) {
        int length = (int)strcspn(line, "\n");

        printf("    %.*s\n", length, line);
        line += length;
    }
    if (error->cause != USERD_CAUSE_ANSWER)
        printf("    not the server's word: cause %d after %u attempts, last %s\n",
               (int)error->cause, error->attempts, error->backend);
}

/* For what must succeed: the rest of the program needs it. */
static void must(struct userd_client *client, const char *what, enum userd_code code)
{
    if (code == USERD_OK)
        return;
    print_error(what, userd_client_error(client));
    userd_client_free(client);
    exit(1);
}

static void print_user(const char *what, const struct userd_user *user)
{
    const char *status = userd_user_status_name(user->status);

    printf("%s: %s %s <%s> %s", what, user->id, user->username, user->email,
           status == NULL ? "?" : status);
    for (size_t i = 0; i < user->role_count; i++)
        printf("%s%s", i == 0 ? ", roles " : " ", user->roles[i]);
    printf("%s%s\n", user->has_profile ? ", " : "", user->has_profile ? user->first_name : "");
}

/* --------------------------------------------------- blocking: a call, and its answer */

/* What is returned is borrowed until the next blocking call, so the id is copied out. */
static void create_and_change(struct userd_client *client, char *id, size_t room)
{
    char username[64], email[96];
    struct userd_new_user ada = USERD_NEW_USER_INIT;
    struct userd_user wanted = USERD_USER_INIT;
    struct userd_change change = USERD_CHANGE_INIT;
    struct userd_call_options five_seconds = USERD_CALL_OPTIONS_INIT;
    static const char *const mask[] = {"status", "profile.first_name"};
    const struct userd_user *user;

    snprintf(username, sizeof(username), "ada-%s", run_name);
    snprintf(email, sizeof(email), "%s@example.com", username);
    ada.username = username;
    ada.email = email;
    ada.password = "correct horse";
    ada.request_id = username; /* a second try makes no second user */
    must(client, "create", userd_create_user(client, NULL, &ada, &user));
    print_user("created", user);
    snprintf(id, room, "%s", user->id);

    five_seconds.timeout_ms = 5000;
    must(client, "get", userd_get_user(client, &five_seconds, id, &user));
    print_user("got", user);

    wanted.status = USERD_STATUS_INACTIVE;
    wanted.first_name = "Ada";
    change.id = id;
    change.user = &wanted;
    change.mask = mask;
    change.mask_count = 2;
    must(client, "update", userd_update_user(client, NULL, &change, &user));
    print_user("updated", user);
}

static void show_errors(struct userd_client *client)
{
    struct userd_call_options soon = USERD_CALL_OPTIONS_INIT;
    struct userd_new_user incomplete = USERD_NEW_USER_INIT;

    incomplete.username = "x";
    if (userd_get_user(client, NULL, "nobody", NULL) != USERD_OK)
        print_error("as expected, get", userd_client_error(client));
    if (userd_create_user(client, NULL, &incomplete, NULL) != USERD_OK)
        print_error("as expected, create", userd_client_error(client));
    soon.timeout_ms = 1; /* may be enough, or not */
    if (userd_get_user(client, &soon, "nobody", NULL) == USERD_DEADLINE_EXCEEDED)
        print_error("in one millisecond, get", userd_client_error(client));
}

static void list_all(struct userd_client *client)
{
    char filter[96], token[4096] = "";
    struct userd_list_request request = USERD_LIST_REQUEST_INIT;
    const struct userd_page *page;
    unsigned pages = 0, users = 0;

    snprintf(filter, sizeof(filter), "username = \"*%s*\"", run_name);
    request.page_size = 25;
    request.filter = filter;
    do {
        request.page_token = token;
        must(client, "list", userd_list_users(client, NULL, &request, &page));
        pages++;
        users += (unsigned)page->count;
        snprintf(token, sizeof(token), "%s", page->next_page_token);
    } while (token[0] != 0);
    printf("listed: %u users on %u pages\n", users, pages);
}

static void on_created(void *context, const struct userd_reply *reply)
{
    if (reply->user != NULL)
        ++*(unsigned *)context;
    else
        print_error("an item of the batch", reply->error);
}

/* Sending waits while the server takes no more; replies are told meanwhile. */
static void create_batch(struct userd_client *client)
{
    unsigned created = 0;

    must(client, "batch", userd_batch_open(client, NULL, true, on_created, &created));
    for (unsigned i = 0; i < BATCH; i++) {
        char username[64], email[96];
        struct userd_new_user user = USERD_NEW_USER_INIT;

        snprintf(username, sizeof(username), "batch%u-%s", i, run_name);
        snprintf(email, sizeof(email), "%s@example.com", username);
        user.username = username;
        user.email = email;
        user.password = "correct battery";
        must(client, "batch", userd_batch_item(client, &user));
    }
    must(client, "batch", userd_stream_finish(client));
    printf("batch: %u of %u users created\n", created, (unsigned)BATCH);
}

/* -------------------------------------------------- events: several calls side by side */

struct sync {
    struct userd_call *call;
    unsigned sent;
    unsigned replies;
    bool is_over;
};

/* As many as there is room for; the library calls it again when there is more. */
static void send_some(void *context)
{
    struct sync *sync = context;
    int ret;

    while (sync->sent < SYNC) {
        char username[64], email[96];
        struct userd_user user = USERD_USER_INIT;

        snprintf(username, sizeof(username), "sync%u-%s", sync->sent, run_name);
        snprintf(email, sizeof(email), "%s@example.com", username);
        user.username = username;
        user.email = email;
        ret = userd_sync_send(sync->call, &user);
        if (ret < 0)
            userd_call_cancel(sync->call); /* no memory: nobody would call this again */
        if (ret != 0)
            return; /* USERD_FULL: again when writable. USERD_OVER: `ended` tells why */
        sync->sent++;
    }
    if (userd_call_finish(sync->call) < 0)
        userd_call_cancel(sync->call);
}

static void on_synced(void *context, const struct userd_reply *reply)
{
    struct sync *sync = context;

    if (reply->user != NULL)
        sync->replies++;
}

static void on_sync_ended(void *context, const struct userd_error *error)
{
    struct sync *sync = context;

    sync->is_over = true;
    if (error->code != USERD_OK)
        print_error("sync", error);
}

struct watch {
    const char *id;
    unsigned states;
    bool is_over;
};

static void on_state(void *context, const struct userd_user *user)
{
    struct watch *watch = context;

    watch->states++;
    print_user("watched", user);
}

static void on_watch_ended(void *context, const struct userd_error *error)
{
    struct watch *watch = context;

    watch->is_over = true;
    print_error("watch ended", error); /* CANCELLED, by us */
}

static void on_updated(void *context, const struct userd_error *error,
                       const struct userd_user *user)
{
    (void)context;
    if (user == NULL)
        print_error("update", error);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Where the library gives a reason, errno alone is the poorer one. */
static void cannot_start(struct userd_client *client, const char *what)
{
    fprintf(stderr, "%s: %s\n", what, userd_last_problem());
    userd_client_free(client);
    exit(1);
}

/* A watch that is cancelled after some seconds, and a sync beside it on the same connection. */
static void watch_and_sync(struct userd_client *client, const char *id, unsigned seconds)
{
    static const struct userd_watch_events watch_events = {
        .size = sizeof(watch_events), .state = on_state, .ended = on_watch_ended};
    static const struct userd_stream_events sync_events = {.size = sizeof(sync_events),
                                                           .reply = on_synced,
                                                           .writable = send_some,
                                                           .ended = on_sync_ended};
    static const char *const roles[] = {"watched"};
    struct userd_user wanted = USERD_USER_INIT;
    struct userd_change change = USERD_CHANGE_INIT;
    struct userd_call_options a_minute = USERD_CALL_OPTIONS_INIT;
    struct watch watch = {.id = id};
    struct sync sync = {0};
    struct userd_call *call = userd_start_watch(client, NULL, id, &watch_events, &watch);
    uint64_t end_ms = now_ms() + (uint64_t)seconds * 1000;
    bool has_changed = false;

    wanted.roles = roles;
    wanted.role_count = 1;
    change.id = id;
    change.user = &wanted;
    a_minute.timeout_ms = 60000; /* a stream has no deadline of its own */
    sync.call = userd_start_sync(client, &a_minute, &sync_events, &sync);
    if (call == NULL || sync.call == NULL)
        cannot_start(client, "watch and sync");
    send_some(&sync);
    while (!watch.is_over || !sync.is_over) {
        uint64_t now = now_ms();

        if (userd_client_run(client, now < end_ms ? end_ms - now : USERD_NO_TIMEOUT) != 0) {
            fprintf(stderr, "the event loop failed\n");
            exit(1);
        }
        if (watch.states > 0 && !has_changed) {
            has_changed = true;
            if (userd_start_update_user(client, NULL, &change, on_updated, NULL) == NULL)
                cannot_start(client, "update");
        }
        if (now_ms() >= end_ms && !watch.is_over)
            userd_call_cancel(call);
    }
    printf("sync: %u of %u users stored; %u states watched\n", sync.replies, (unsigned)SYNC,
           watch.states);
}

static void print_backends(struct userd_client *client)
{
    struct userd_backend backend = USERD_BACKEND_INIT;

    for (unsigned i = 0; userd_client_backend(client, i, &backend) == 0; i++)
        printf("backend %s: %llu calls, %llu failures, breaker %s\n", backend.address,
               (unsigned long long)backend.calls, (unsigned long long)backend.failures,
               backend.breaker == USERD_BREAKER_CLOSED ? "closed" : "open");
}

int main(int argc, char **argv)
{
    struct userd_client_options options = USERD_CLIENT_OPTIONS_INIT;
    struct userd_client *client;
    char id[128];
    bool success;

    if (argc < 4) {
        fprintf(stderr, "usage: users TARGET CA_FILE TOKEN_FILE [WATCH_SECONDS]\n");
        return 64;
    }
    snprintf(run_name, sizeof(run_name), "%lx%x", (unsigned long)time(NULL), (unsigned)getpid());
    options.target = argv[1];
    options.ca_file = argv[2];
    options.token_file = argv[3];
    options.balancing = USERD_ROUND_ROBIN;
    if (userd_client_new(&options, &client) != 0) {
        fprintf(stderr, "users: %s\n", userd_last_problem());
        return 1;
    }
    create_and_change(client, id, sizeof(id));
    show_errors(client);
    create_batch(client);
    watch_and_sync(client, id, argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 60);
    list_all(client);
    must(client, "delete", userd_delete_user(client, NULL, id, NULL, &success));
    printf("deleted: %s\n", id);
    print_backends(client);
    userd_client_free(client);
    return 0;
}
