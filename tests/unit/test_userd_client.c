#include "userd_client_fixture.h"

#include <errno.h>
#include <poll.h>

static const struct userd_user *user;

static bool interrupted;

static bool is_interrupted(void *context)
{
    return *(bool *)context;
}

/* A user arrives with every field, and the token goes along. */
START_TEST(client_gets_a_user)
{
    begin();
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", &user), 0);
    ck_assert_str_eq(user->id, "u-1");
    ck_assert_str_eq(user->username, "Bearer t0ken");
    ck_assert_str_eq(user->email, "");
    ck_assert_int_eq(user->created_at_ms, 1700000000123);
    ck_assert_str_eq(userd_user_status_name(user->status), "USER_STATUS_SUSPENDED");
    ck_assert_uint_eq(user->role_count, 2);
    ck_assert_str_eq(user->roles[0], "admin");
    ck_assert_str_eq(user->roles[1], "viewer");
    ck_assert(user->has_profile);
    ck_assert_str_eq(user->first_name, "");
    ck_assert_str_eq(user->last_name, "viewer");
    end();
}

END_TEST

/* A failure has its status and text, and the client goes on after it. */
START_TEST(client_tells_failures)
{
    begin();
    ck_assert_int_eq(userd_get_user(client, NULL, "unknown", &user), USERD_NOT_FOUND);
    ck_assert_int_eq(userd_client_error(client)->code, USERD_NOT_FOUND);
    ck_assert_str_eq(userd_client_error(client)->message, "User unknown not found");
    ck_assert_str_eq(userd_client_error(client)->details, "");
    ck_assert_int_eq(userd_get_user(client, NULL, "u-2", &user), 0);
    ck_assert_str_eq(user->id, "u-2");
    end();
}

END_TEST

/* An answer that is no such message, or that lacks its user, is INTERNAL. */
START_TEST(client_refuses_wrong_answers)
{
    begin();
    ck_assert_int_eq(userd_get_user(client, NULL, "garbage", &user), USERD_INTERNAL);
    ck_assert_int_eq(userd_client_error(client)->code, USERD_INTERNAL);
    ck_assert_int_eq(userd_get_user(client, NULL, "nobody", &user), USERD_INTERNAL);
    ck_assert_int_eq(userd_client_error(client)->code, USERD_INTERNAL);
    ck_assert_str_eq(userd_client_error(client)->message, "the answer holds no user");
    end();
}

END_TEST

/* A server that never answers costs the deadline and no more. */
START_TEST(client_keeps_its_deadline)
{
    struct userd_call_options soon = USERD_CALL_OPTIONS_INIT;

    begin();
    soon.timeout_ms = 20;
    ck_assert_int_eq(userd_get_user(client, &soon, "silent", &user), USERD_DEADLINE_EXCEEDED);
    ck_assert_int_eq(userd_client_error(client)->code, USERD_DEADLINE_EXCEEDED);
    ck_assert_int_eq(userd_client_error(client)->cause, USERD_CAUSE_DEADLINE);
    end();
}

END_TEST

/* Every field of a new user is sent; one that is not given is empty. */
START_TEST(client_creates_a_user)
{
    const struct userd_new_user create = {.size = sizeof(create),
                                          .username = "ada",
                                          .email = "ada@example.com",
                                          .password = "correct horse"};

    begin();
    ck_assert_int_eq(userd_create_user(client, NULL, &create, &user), 0);
    ck_assert_str_eq(user->username, "ada");
    ck_assert_str_eq(user->email, "ada@example.com");
    ck_assert_str_eq(user->etag, "correct horse");
    ck_assert_str_eq(user->id, "");
    end();
}

END_TEST

/* A change sends values, etag and mask; without a mask none is sent. */
START_TEST(client_updates_a_user)
{
    static const char *const mask[] = {"email", "profile.first_name"};
    const struct userd_user wanted = {
        .size = sizeof(wanted),
        .email = "new@example.com",
        .etag = "v7",
        .status = 2,
        .has_profile = true,
        .first_name = "Ada",
    };
    struct userd_change update = {
        .size = sizeof(update),
        .id = "u-3",
        .user = &wanted,
        .mask = mask,
        .mask_count = 2,
    };

    begin();
    ck_assert_int_eq(userd_update_user(client, NULL, &update, &user), 0);
    ck_assert_str_eq(user->id, "u-3");
    ck_assert_str_eq(user->email, "new@example.com");
    ck_assert_str_eq(user->etag, "v7");
    ck_assert_int_eq(user->status, 2);
    ck_assert_str_eq(user->first_name, "Ada");
    ck_assert_uint_eq(user->role_count, 2);
    ck_assert_str_eq(user->roles[1], "profile.first_name");
    update.mask_count = 0;
    ck_assert_int_eq(userd_update_user(client, NULL, &update, &user), 0);
    ck_assert_uint_eq(user->role_count, 0);
    end();
}

END_TEST

/* A delete sends id and etag and tells what the server says. */
START_TEST(client_deletes_a_user)
{
    bool success = false;

    begin();
    ck_assert_int_eq(userd_delete_user(client, NULL, "victim", "v1", &success), 0);
    ck_assert(success);
    ck_assert_int_eq(userd_delete_user(client, NULL, "victim", NULL, &success), 0);
    ck_assert(!success);
    end();
}

END_TEST

/* A page comes with its users, its total and its plan, and its token leads to the next. */
START_TEST(client_lists_users)
{
    struct userd_list_request list = {
        .size = sizeof(list), .page_size = 7, .filter = "status = ACTIVE"};
    const struct userd_page *page;

    begin();
    ck_assert_int_eq(userd_list_users(client, NULL, &list, &page), 0);
    ck_assert_uint_eq(page->count, 1);
    ck_assert_str_eq(page->users[0]->id, "7 ");
    ck_assert_str_eq(page->users[0]->username, "status = ACTIVE");
    ck_assert_str_eq(page->next_page_token, "page-2");
    ck_assert_int_eq(page->total_count, 2);
    ck_assert_str_eq(page->plan, "walk");
    list.page_token = page->next_page_token;
    ck_assert_int_eq(userd_list_users(client, NULL, &list, &page), 0);
    ck_assert_str_eq(page->users[0]->id, "7 page-2");
    ck_assert_str_eq(page->next_page_token, "");
    end();
}

END_TEST

struct seen {
    unsigned count;
    unsigned count_max;
    int last_status;
};

static bool on_state(void *context, const struct userd_user *state)
{
    struct seen *seen = context;

    seen->count++;
    seen->last_status = state->status;
    return seen->count < seen->count_max;
}

/* A watch tells each state and ends well with the server, or when its owner has seen enough. */
START_TEST(client_watches_a_user)
{
    struct seen seen = {.count_max = 10};

    begin();
    ck_assert_int_eq(userd_watch_user(client, NULL, "u-1", on_state, &seen), 0);
    ck_assert_uint_eq(seen.count, 2);
    ck_assert_int_eq(seen.last_status, 4);
    seen = (struct seen){.count_max = 1};
    ck_assert_int_eq(userd_watch_user(client, NULL, "silent", on_state, &seen), 0);
    ck_assert_uint_eq(seen.count, 1);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-2", &user), 0);
    end();
}

END_TEST

/* A watch that fails tells how, after the states before it. */
START_TEST(client_tells_how_a_watch_fails)
{
    struct seen seen = {.count_max = 10};

    begin();
    ck_assert_int_eq(userd_watch_user(client, NULL, "lost", on_state, &seen), USERD_UNAVAILABLE);
    ck_assert_uint_eq(seen.count, 1);
    ck_assert_int_eq(userd_client_error(client)->code, USERD_UNAVAILABLE);
    ck_assert_int_eq(userd_watch_user(client, NULL, "garbage", on_state, &seen), USERD_INTERNAL);
    ck_assert_uint_eq(seen.count, 2);
    ck_assert_int_eq(userd_client_error(client)->code, USERD_INTERNAL);
    end();
}

END_TEST

static bool interrupt_at_state(void *context, const struct userd_user *state)
{
    (void)context;
    (void)state;
    interrupted = true;
    return true;
}

/* An interrupted program gets its call back, cancelled. */
START_TEST(client_is_interrupted)
{
    struct userd_client_options options;

    start_server();
    options = test_options();
    options.interrupted = is_interrupted;
    options.interrupted_context = &interrupted;
    client = new_client(&options);
    interrupted = false;
    ck_assert_int_eq(userd_watch_user(client, NULL, "silent", interrupt_at_state, NULL),
                     USERD_CANCELLED);
    ck_assert_int_eq(userd_client_error(client)->code, USERD_CANCELLED);
    ck_assert_int_eq(userd_client_error(client)->cause, USERD_CAUSE_CANCELLED);
    end();
}

END_TEST

struct answers {
    uint64_t count;
    uint64_t failed;
    uint64_t last_failed;
    char username[32];
    char password[32];
    char email[32];
    char id[32];
};

static void on_reply(void *context, const struct userd_reply *reply)
{
    struct answers *answers = context;

    ck_assert_uint_eq(reply->index, answers->count);
    answers->count++;
    if (reply->user == NULL) {
        ck_assert_int_eq(reply->error->code, USERD_ALREADY_EXISTS);
        ck_assert_str_eq(reply->error->message, "User already exists");
        answers->failed++;
        answers->last_failed = reply->index;
        return;
    }
    (void)snprintf(answers->id, sizeof(answers->id), "%s", reply->user->id);
    (void)snprintf(answers->username, sizeof(answers->username), "%s", reply->user->username);
    (void)snprintf(answers->email, sizeof(answers->email), "%s", reply->user->email);
    (void)snprintf(answers->password, sizeof(answers->password), "%s", reply->user->etag);
}

static void open_batch(struct answers *answers)
{
    *answers = (struct answers){0};
    ck_assert_int_eq(userd_batch_open(client, NULL, true, on_reply, answers), 0);
}

static void open_sync(struct answers *answers)
{
    *answers = (struct answers){0};
    ck_assert_int_eq(userd_sync_open(client, NULL, on_reply, answers), 0);
}

static int send_create(const char *username)
{
    const struct userd_new_user create = {.size = sizeof(create),
                                          .username = username,
                                          .password = "correct horse",
                                          .request_id = "r-1"};

    return (int)userd_batch_item(client, &create);
}

/* Many items are pipelined; each is answered in order, the failed ones as failures. */
START_TEST(client_creates_a_batch)
{
    struct answers answers;

    begin();
    open_batch(&answers);
    for (unsigned i = 0; i < 5000; i++) {
        ck_assert_int_eq(send_create(i % 1000 == 999 ? "taken" : "ada"), 0);
    }
    ck_assert_uint_gt(answers.count, 0);
    ck_assert_int_eq(userd_stream_finish(client), 0);
    ck_assert_uint_eq(answers.count, 5000);
    ck_assert_uint_eq(answers.failed, 5);
    ck_assert_uint_eq(answers.last_failed, 4999);
    ck_assert_str_eq(answers.username, "ada");
    ck_assert_str_eq(answers.password, "correct horse");
    ck_assert_str_eq(answers.email, "true");
    ck_assert_str_eq(answers.id, "r-1");
    ck_assert_int_eq(userd_get_user(client, NULL, "u-2", &user), 0);
    end();
}

END_TEST

/* Whoever has nothing to send still hears of replies. */
START_TEST(client_turns_a_stream)
{
    struct answers answers;

    begin();
    open_batch(&answers);
    ck_assert_int_eq(send_create("ada"), 0);
    while (answers.count == 0) {
        ck_assert_int_eq(userd_client_run(client, 1000), 0);
    }
    userd_stream_cancel(client);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-2", &user), 0);
    end();
}

END_TEST

/* A stream that the server ends fails with its status and the index of the item. */
START_TEST(client_tells_how_a_stream_fails)
{
    struct answers answers;
    int ret = 0;

    begin();
    open_batch(&answers);
    ck_assert_int_eq(send_create("ada"), 0);
    ck_assert_int_eq(send_create("end"), 0);
    for (unsigned i = 0; i < 100000 && ret == 0; i++) {
        ret = send_create("late");
    }
    ck_assert_int_eq(ret, USERD_ALREADY_EXISTS);
    ck_assert_uint_eq(answers.count, 1);
    ck_assert_int_eq(userd_stream_finish(client), USERD_ALREADY_EXISTS);
    ck_assert_int_eq(userd_client_error(client)->code, USERD_ALREADY_EXISTS);
    ck_assert_int_eq(userd_client_error(client)->index, 12);
    ck_assert_ptr_nonnull(strstr(userd_client_error(client)->details, "index"));
    end();
}

END_TEST

static void expect_broken(const char *username, const char *message)
{
    struct answers answers;

    open_batch(&answers);
    ck_assert_int_eq(send_create(username), 0);
    ck_assert_int_eq(userd_stream_finish(client), USERD_INTERNAL);
    ck_assert_int_eq(userd_client_error(client)->code, USERD_INTERNAL);
    ck_assert_str_eq(userd_client_error(client)->message, message);
    ck_assert_int_eq(userd_client_error(client)->index, -1);
}

/* A server that answers too little, or neither user nor error, has failed. */
START_TEST(client_counts_replies)
{
    begin();
    expect_broken("mute", "the server left items without an answer");
    expect_broken("bye", "the server left items without an answer");
    expect_broken("neither", "the server sent something else than a user or an error");
    end();
}

END_TEST

/* Every field of a user is sent, and its echo told. */
START_TEST(client_syncs_users)
{
    const struct userd_user one = {
        .size = sizeof(one), .id = "u-9", .username = "ada", .email = "a@b.example"};
    struct answers answers;

    begin();
    open_sync(&answers);
    ck_assert_int_eq(userd_sync_item(client, &one), 0);
    ck_assert_int_eq(userd_sync_item(client, &one), 0);
    ck_assert_int_eq(userd_stream_finish(client), 0);
    ck_assert_uint_eq(answers.count, 2);
    ck_assert_str_eq(answers.id, "u-9");
    ck_assert_str_eq(answers.username, "ada");
    ck_assert_str_eq(answers.email, "a@b.example");
    end();
}

END_TEST

/* A client with an open stream can be freed. */
START_TEST(client_is_freed_with_a_stream)
{
    struct answers answers;

    begin();
    open_batch(&answers);
    ck_assert_int_eq(send_create("ada"), 0);
    end();
    ck_assert_uint_eq(answers.count, 0);
}

END_TEST

static void refuse(const struct userd_client_options *options, const char *part)
{
    struct userd_client *made = NULL;

    ck_assert_int_eq(userd_client_new(options, &made), -EINVAL);
    ck_assert_ptr_null(made);
    ck_assert_msg(strstr(userd_last_problem(), part) != NULL, "%s", userd_last_problem());
}

/* What cannot work is refused before anything is sent, in words. */
START_TEST(client_refuses_bad_options)
{
    struct userd_client_options options = USERD_CLIENT_OPTIONS_INIT;

    refuse(&options, "no target");
    options.target = "localhost:1";
    refuse(&options, "ca_file");
    options.ca_file = "/nonexistent/ca.pem";
    refuse(&options, "/nonexistent/ca.pem");
    options.cert_file = "/nonexistent/cert.pem";
    refuse(&options, "together");
    options.plaintext = true;
    options.cert_file = NULL;
    options.target = "no port";
    refuse(&options, "no port");
    options.target = "localhost:1";
    options.token = "two words";
    refuse(&options, "token");
    options.token = "one";
    options.token_file = "/nonexistent/token";
    refuse(&options, "exclude");
    options.token = NULL;
    refuse(&options, "/nonexistent/token");
    options.token_file = NULL;
    options.service_config = "{\"methodConfig\": 7}";
    refuse(&options, "methodConfig");
    options.service_config = NULL;
    options.breaker_failure_percent = 101;
    refuse(&options, "percent");
    options.breaker_failure_percent = 50;
    options.size--;
    refuse(&options, "_INIT");
    userd_client_free(NULL);
}

END_TEST

/* Statuses go by their full and their short name, in any case. */
START_TEST(client_knows_status_names)
{
    ck_assert_int_eq(userd_user_status_from_name("USER_STATUS_ACTIVE"), 1);
    ck_assert_int_eq(userd_user_status_from_name("suspended"), 3);
    ck_assert_int_eq(userd_user_status_from_name("asleep"), -1);
    ck_assert_int_eq(userd_user_status_from_name(""), -1);
    ck_assert_str_eq(userd_user_status_name(2), "USER_STATUS_INACTIVE");
    ck_assert_ptr_null(userd_user_status_name(99));
}

END_TEST

/* Waits until the server's end of its connections has come to this process, which does not look at
 * it; then pauses. */
static void sleep_through_the_end(void)
{
    const long port = strtol(strrchr(target, ':') + 1, NULL, 10);
    unsigned found = 0;

    for (int fd = 0; fd < 256; fd++) {
        struct pollfd wait = {.fd = fd, .events = POLLRDHUP};
        struct sockaddr_in peer = {0};
        socklen_t size = sizeof(peer);

        if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sin_family == AF_INET &&
            ntohs(peer.sin_port) == port) {
            ck_assert_int_eq(poll(&wait, 1, -1), 1);
            found++;
        }
    }
    ck_assert_uint_ge(found, 1); /* one before it may still be going */
    pause_ms(3);
}

/* The connection ends while the program is busy elsewhere: the next call does not go to it, as a
 * write could not be tried again. */
START_TEST(client_calls_after_a_pause)
{
    const struct userd_new_user ada = {.size = sizeof(ada), .username = "ada"};
    struct userd_stats stats = USERD_STATS_INIT;

    begin();
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(userd_get_user(client, NULL, "leave", NULL), USERD_OK);
        sleep_through_the_end();
        ck_assert_msg(userd_create_user(client, NULL, &ada, NULL) == USERD_OK, "%s",
                      userd_client_error(client)->message);
        ck_assert_uint_eq(userd_client_error(client)->attempts, 1);
    }
    for (unsigned i = 0; i < 3; i++) {
        stop_server_for_another();
        start_another_server();
        sleep_through_the_end();
        ck_assert_msg(userd_create_user(client, NULL, &ada, NULL) == USERD_OK, "%s",
                      userd_client_error(client)->message);
    }
    /* No server for a while: when the wait for the next try is over, calls are worth it again. */
    stop_server_for_another();
    ck_assert_int_eq(userd_create_user(client, NULL, &ada, NULL), USERD_UNAVAILABLE);
    start_another_server();
    pause_ms(2000); /* more than the first wait lasts */
    ck_assert_msg(userd_create_user(client, NULL, &ada, NULL) == USERD_OK, "%s",
                  userd_client_error(client)->message);
    userd_client_stats(client, &stats);
    ck_assert_uint_eq(stats.retries, 0);
    end();
}

END_TEST

UNIT_MAIN("userd_client", client_gets_a_user, client_tells_failures, client_refuses_wrong_answers,
          client_keeps_its_deadline, client_creates_a_user, client_updates_a_user,
          client_deletes_a_user, client_lists_users, client_watches_a_user,
          client_tells_how_a_watch_fails, client_is_interrupted, client_creates_a_batch,
          client_turns_a_stream, client_tells_how_a_stream_fails, client_counts_replies,
          client_syncs_users, client_is_freed_with_a_stream, client_refuses_bad_options,
          client_knows_status_names, client_calls_after_a_pause)
