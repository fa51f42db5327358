#include "lib/scripted_server.h"
#include "lib/unit.h"

#include "client/user_client.h"
#include "core/clock.h"
#include "core/reactor.h"

#include <users/v1/users.pb-c.h>

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * The client blocks, so the server is another process: a forked child that runs a scripted_server
 * until it is killed. What it saw of a request comes back inside the answer.
 */

static pid_t child;
static struct user_client *client;
static struct user_client_user user;
static char problem[USER_CLIENT_PROBLEM_SIZE];
static volatile sig_atomic_t interrupted;

static void pack_and_reply(struct scripted_request *request, const ProtobufCMessage *message)
{
    uint8_t packed[1024];

    ck_assert_uint_le(protobuf_c_message_get_packed_size(message), sizeof(packed));
    scripted_request_reply(request,
                           (struct bytes){packed, protobuf_c_message_pack(message, packed)});
}

static void *unpack(struct scripted_request *request, const ProtobufCMessageDescriptor *descriptor)
{
    struct bytes body = buf_bytes(&request->body);
    void *message = protobuf_c_message_unpack(descriptor, NULL, body.size - 5, body.data + 5);

    ck_assert_ptr_nonnull(message);
    return message;
}

static void answer_get(struct scripted_request *request)
{
    Users__V1__GetUserRequest *in = unpack(request, &users__v1__get_user_request__descriptor);
    Users__V1__GetUserResponse out;
    Users__V1__User one;
    Users__V1__User__Profile profile;
    char first[] = "admin";
    char second[] = "viewer";
    char *roles[] = {first, second};

    users__v1__get_user_response__init(&out);
    users__v1__user__init(&one);
    users__v1__user__profile__init(&profile);
    one.id = in->id;
    one.username = request->authorization;
    one.created_at = 1700000000123;
    one.status = USERS__V1__USER_STATUS__USER_STATUS_SUSPENDED;
    one.roles = roles;
    one.n_roles = 2;
    profile.last_name = second;
    one.profile = &profile;
    out.user = strcmp(in->id, "nobody") == 0 ? NULL : &one;
    if (strcmp(in->id, "garbage") == 0) {
        scripted_request_reply(request, BYTES_LITERAL("\x0a\x7f"));
    } else if (strcmp(in->id, "unknown") == 0) {
        scripted_request_refuse(request, "200", "application/grpc", "5", "User unknown not found");
    } else if (strcmp(in->id, "silent") != 0) {
        pack_and_reply(request, &out.base);
    }
    protobuf_c_message_free_unpacked(&in->base, NULL);
}

static void answer_create(struct scripted_request *request)
{
    Users__V1__CreateUserRequest *in = unpack(request, &users__v1__create_user_request__descriptor);
    Users__V1__CreateUserResponse out;
    Users__V1__User one;

    users__v1__create_user_response__init(&out);
    users__v1__user__init(&one);
    one.id = in->request_id;
    one.username = in->username;
    one.email = in->email;
    one.etag = in->password;
    out.user = &one;
    pack_and_reply(request, &out.base);
    protobuf_c_message_free_unpacked(&in->base, NULL);
}

/* The mask comes back as the roles. */
static void answer_update(struct scripted_request *request)
{
    Users__V1__UpdateUserRequest *in = unpack(request, &users__v1__update_user_request__descriptor);
    Users__V1__UpdateUserResponse out;
    Users__V1__User one = *in->user;

    users__v1__update_user_response__init(&out);
    one.id = in->id;
    if (in->update_mask != NULL) {
        one.roles = in->update_mask->paths;
        one.n_roles = in->update_mask->n_paths;
    }
    out.user = &one;
    pack_and_reply(request, &out.base);
    protobuf_c_message_free_unpacked(&in->base, NULL);
}

static void answer_delete(struct scripted_request *request)
{
    Users__V1__DeleteUserRequest *in = unpack(request, &users__v1__delete_user_request__descriptor);
    Users__V1__DeleteUserResponse out;

    users__v1__delete_user_response__init(&out);
    out.success = strcmp(in->id, "victim") == 0 && strcmp(in->etag, "v1") == 0;
    pack_and_reply(request, &out.base);
    protobuf_c_message_free_unpacked(&in->base, NULL);
}

/* Two pages of one user each, who shows what was asked for. */
static void answer_list(struct scripted_request *request)
{
    Users__V1__ListUsersRequest *in = unpack(request, &users__v1__list_users_request__descriptor);
    Users__V1__ListUsersResponse out;
    Users__V1__User one;
    Users__V1__User *users[] = {&one};
    uint8_t packed[512];
    char id[64];
    char next[] = "page-2";

    users__v1__list_users_response__init(&out);
    users__v1__user__init(&one);
    (void)snprintf(id, sizeof(id), "%d %s", in->page_size, in->page_token);
    one.id = id;
    one.username = in->filter;
    out.users = users;
    out.n_users = 1;
    out.total_count = 2;
    if (in->page_token[0] == '\0') {
        out.next_page_token = next;
    }
    scripted_request_send(request,
                          (struct bytes){packed, protobuf_c_message_pack(&out.base, packed)});
    scripted_request_finish(request, "0", "users-list-plan", "walk");
    protobuf_c_message_free_unpacked(&in->base, NULL);
}

static void send_user(struct scripted_request *request, char *id, Users__V1__UserStatus status)
{
    Users__V1__User one;
    uint8_t packed[512];

    users__v1__user__init(&one);
    one.id = id;
    one.status = status;
    scripted_request_send(request,
                          (struct bytes){packed, protobuf_c_message_pack(&one.base, packed)});
}

/* The user, then its end; of "silent" nothing after the first, of "garbage" no user. */
static void answer_watch(struct scripted_request *request)
{
    Users__V1__GetUserRequest *in = unpack(request, &users__v1__get_user_request__descriptor);

    send_user(request, in->id, USERS__V1__USER_STATUS__USER_STATUS_ACTIVE);
    if (strcmp(in->id, "garbage") == 0) {
        scripted_request_send(request, BYTES_LITERAL("\x0a\x7f"));
    } else if (strcmp(in->id, "lost") == 0) {
        scripted_request_finish(request, "14", NULL, NULL);
    } else if (strcmp(in->id, "silent") != 0) {
        send_user(request, in->id, USERS__V1__USER_STATUS__USER_STATUS_DELETED);
        scripted_request_finish(request, "0", NULL, NULL);
    }
    protobuf_c_message_free_unpacked(&in->base, NULL);
}

/* The last item is the answer to the test: "taken" fails, "end" ends the stream with the index in
 * an ErrorInfo, "mute" is not answered. */
static void answer_created(struct scripted_request *request, const Users__V1__CreateUserRequest *in)
{
    /* Status { 6, details { ErrorInfo { metadata { index: 12 } } } }, in base64. */
    static const char details[] =
        "CAYaPgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLkVycm9ySW5mbxISCgFSGg0KBWluZGV4EgQwMDEy";
    Users__V1__CreateUserResponse out;
    Users__V1__User one;
    Google__Rpc__Status error;
    uint8_t packed[1024];
    char taken[] = "User already exists";

    users__v1__create_user_response__init(&out);
    users__v1__user__init(&one);
    google__rpc__status__init(&error);
    error.code = 6;
    error.message = taken;
    one.id = in->request_id;
    one.username = in->username;
    one.email = request->continue_on_error;
    one.etag = in->password;
    if (strcmp(in->username, "end") == 0) {
        scripted_request_finish(request, "6", "grpc-status-details-bin", details);
    } else if (strcmp(in->username, "bye") == 0) {
        scripted_request_finish(request, "0", NULL, NULL);
    } else if (strcmp(in->username, "taken") == 0) {
        out.error = &error;
    } else if (strcmp(in->username, "neither") != 0) {
        out.user = &one;
    }
    if (strcmp(in->username, "mute") != 0 && !request->has_trailers) {
        scripted_request_send(request,
                              (struct bytes){packed, protobuf_c_message_pack(&out.base, packed)});
    }
}

static void on_received(struct scripted_server *peer, struct scripted_request *request)
{
    struct bytes message;
    Users__V1__CreateUserRequest *in;

    (void)peer;
    if (strcmp(request->path, "/users.v1.UserService/SyncUsers") == 0) {
        while (scripted_request_take(request, &message)) {
            scripted_request_send(request, message); /* the echo */
        }
    }
    while (strcmp(request->path, "/users.v1.UserService/BatchCreateUsers") == 0 &&
           !request->has_trailers && scripted_request_take(request, &message)) {
        in = (void *)protobuf_c_message_unpack(&users__v1__create_user_request__descriptor, NULL,
                                               message.size, message.data);
        ck_assert_ptr_nonnull(in);
        answer_created(request, in);
        protobuf_c_message_free_unpacked(&in->base, NULL);
    }
}

static void answer(struct scripted_server *peer, struct scripted_request *request)
{
    (void)peer;
    if (strcmp(request->path, "/users.v1.UserService/GetUser") == 0) {
        answer_get(request);
    } else if (strcmp(request->path, "/users.v1.UserService/CreateUser") == 0) {
        answer_create(request);
    } else if (strcmp(request->path, "/users.v1.UserService/UpdateUser") == 0) {
        answer_update(request);
    } else if (strcmp(request->path, "/users.v1.UserService/ListUsers") == 0) {
        answer_list(request);
    } else if (strcmp(request->path, "/users.v1.UserService/WatchUser") == 0) {
        answer_watch(request);
    } else if (strcmp(request->path, "/users.v1.UserService/BatchCreateUsers") == 0 ||
               strcmp(request->path, "/users.v1.UserService/SyncUsers") == 0) {
        if (!request->has_trailers) {
            scripted_request_finish(request, "0", NULL, NULL);
        }
    } else {
        ck_assert_str_eq(request->path, "/users.v1.UserService/DeleteUser");
        answer_delete(request);
    }
}

static void serve(int pipe_fd)
{
    const struct ring_options options = {
        .entries = 64, .recv_buffer_count = 16, .recv_buffer_size = 16384};
    char text[RING_PROBLEM_SIZE];
    struct reactor reactor;
    struct scripted_server peer;

    if (reactor_init(&reactor, &options, clock_system(), NULL, text) != 0) {
        _exit(1);
    }
    scripted_server_open(&peer, &reactor, NULL, answer);
    peer.received = on_received;
    if (write(pipe_fd, peer.port, sizeof(peer.port)) != (ssize_t)sizeof(peer.port)) {
        _exit(1);
    }
    (void)reactor_run(&reactor);
    _exit(1);
}

static void open_client(const char *target, uint64_t timeout_ns)
{
    const struct user_client_options options = {
        .target = target,
        .token = "t0ken",
        .timeout_ns = timeout_ns,
        .interrupted = &interrupted,
    };

    ck_assert_msg(user_client_new(&options, problem, &client) == 0, "%s", problem);
}

static void begin_with_timeout(uint64_t timeout_ns)
{
    char target[32];
    char port[6];
    int pipes[2];

    interrupted = 0;
    ck_assert_int_eq(pipe(pipes), 0);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        serve(pipes[1]);
    }
    ck_assert_int_eq(read(pipes[0], port, sizeof(port)), sizeof(port));
    (void)close(pipes[0]);
    (void)close(pipes[1]);
    (void)snprintf(target, sizeof(target), "127.0.0.1:%s", port);
    open_client(target, timeout_ns);
}

static void begin(void)
{
    begin_with_timeout(CHANNEL_NO_DEADLINE);
}

static void end(void)
{
    user_client_free(client);
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
}

/* A user arrives with every field, and the token goes along. */
START_TEST(client_gets_a_user)
{
    begin();
    ck_assert_int_eq(user_client_get(client, "u-1", &user), 0);
    ck_assert_str_eq(user.id, "u-1");
    ck_assert_str_eq(user.username, "Bearer t0ken");
    ck_assert_str_eq(user.email, "");
    ck_assert_int_eq(user.created_at_ms, 1700000000123);
    ck_assert_str_eq(user_client_status_name(user.status), "USER_STATUS_SUSPENDED");
    ck_assert_uint_eq(user.role_count, 2);
    ck_assert_str_eq(user.roles[0], "admin");
    ck_assert_str_eq(user.roles[1], "viewer");
    ck_assert(user.has_profile);
    ck_assert_str_eq(user.first_name, "");
    ck_assert_str_eq(user.last_name, "viewer");
    end();
}

END_TEST

/* A failure has its status and text, and the client goes on after it. */
START_TEST(client_tells_failures)
{
    begin();
    ck_assert_int_eq(user_client_get(client, "unknown", &user), USER_CLIENT_E_FAILED);
    ck_assert_int_eq(user_client_failure(client)->status, GRPC_STATUS_NOT_FOUND);
    ck_assert_str_eq(user_client_failure(client)->message, "User unknown not found");
    ck_assert_str_eq(user_client_failure(client)->details, "");
    ck_assert_int_eq(user_client_get(client, "u-2", &user), 0);
    ck_assert_str_eq(user.id, "u-2");
    end();
}

END_TEST

/* An answer that is no such message, or that lacks its user, is INTERNAL. */
START_TEST(client_refuses_wrong_answers)
{
    begin();
    ck_assert_int_eq(user_client_get(client, "garbage", &user), USER_CLIENT_E_FAILED);
    ck_assert_int_eq(user_client_failure(client)->status, GRPC_STATUS_INTERNAL);
    ck_assert_int_eq(user_client_get(client, "nobody", &user), USER_CLIENT_E_FAILED);
    ck_assert_int_eq(user_client_failure(client)->status, GRPC_STATUS_INTERNAL);
    ck_assert_str_eq(user_client_failure(client)->message, "the answer holds no user");
    end();
}

END_TEST

/* A server that never answers costs the deadline and no more. */
START_TEST(client_keeps_its_deadline)
{
    begin_with_timeout(20 * CLOCK_NS_PER_MS);
    ck_assert_int_eq(user_client_get(client, "silent", &user), USER_CLIENT_E_FAILED);
    ck_assert_int_eq(user_client_failure(client)->status, GRPC_STATUS_DEADLINE_EXCEEDED);
    ck_assert_int_eq(user_client_failure(client)->cause, CHANNEL_CAUSE_DEADLINE);
    end();
}

END_TEST

/* Every field of a new user is sent; one that is not given is empty. */
START_TEST(client_creates_a_user)
{
    const struct user_client_create create = {
        .username = "ada", .email = "ada@example.com", .password = "correct horse"};

    begin();
    ck_assert_int_eq(user_client_create(client, &create, &user), 0);
    ck_assert_str_eq(user.username, "ada");
    ck_assert_str_eq(user.email, "ada@example.com");
    ck_assert_str_eq(user.etag, "correct horse");
    ck_assert_str_eq(user.id, "");
    end();
}

END_TEST

/* A change sends values, etag and mask; without a mask none is sent. */
START_TEST(client_updates_a_user)
{
    static const char *const mask[] = {"email", "profile.first_name"};
    struct user_client_update update = {
        .id = "u-3",
        .user = {.email = "new@example.com",
                 .etag = "v7",
                 .status = 2,
                 .has_profile = true,
                 .first_name = "Ada"},
        .mask = mask,
        .mask_count = 2,
    };

    begin();
    ck_assert_int_eq(user_client_update(client, &update, &user), 0);
    ck_assert_str_eq(user.id, "u-3");
    ck_assert_str_eq(user.email, "new@example.com");
    ck_assert_str_eq(user.etag, "v7");
    ck_assert_int_eq(user.status, 2);
    ck_assert_str_eq(user.first_name, "Ada");
    ck_assert_uint_eq(user.role_count, 2);
    ck_assert_str_eq(user.roles[1], "profile.first_name");
    update.mask_count = 0;
    ck_assert_int_eq(user_client_update(client, &update, &user), 0);
    ck_assert_uint_eq(user.role_count, 0);
    end();
}

END_TEST

/* A delete sends id and etag and tells what the server says. */
START_TEST(client_deletes_a_user)
{
    bool success = false;

    begin();
    ck_assert_int_eq(user_client_delete(client, "victim", "v1", &success), 0);
    ck_assert(success);
    ck_assert_int_eq(user_client_delete(client, "victim", NULL, &success), 0);
    ck_assert(!success);
    end();
}

END_TEST

/* A page comes with its users, its total and its plan, and its token leads to the next. */
START_TEST(client_lists_users)
{
    struct user_client_list list = {.page_size = 7, .filter = "status = ACTIVE"};
    struct user_client_page page;

    begin();
    ck_assert_int_eq(user_client_list(client, &list, &page), 0);
    ck_assert_uint_eq(page.count, 1);
    ck_assert_str_eq(page.users[0].id, "7 ");
    ck_assert_str_eq(page.users[0].username, "status = ACTIVE");
    ck_assert_str_eq(page.next_page_token, "page-2");
    ck_assert_int_eq(page.total_count, 2);
    ck_assert_str_eq(page.plan, "walk");
    list.page_token = page.next_page_token;
    ck_assert_int_eq(user_client_list(client, &list, &page), 0);
    ck_assert_str_eq(page.users[0].id, "7 page-2");
    ck_assert_str_eq(page.next_page_token, "");
    end();
}

END_TEST

struct seen {
    unsigned count;
    unsigned count_max;
    int last_status;
};

static bool on_state(void *context, const struct user_client_user *state)
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
    ck_assert_int_eq(user_client_watch(client, "u-1", on_state, &seen), 0);
    ck_assert_uint_eq(seen.count, 2);
    ck_assert_int_eq(seen.last_status, 4);
    seen = (struct seen){.count_max = 1};
    ck_assert_int_eq(user_client_watch(client, "silent", on_state, &seen), 0);
    ck_assert_uint_eq(seen.count, 1);
    ck_assert_int_eq(user_client_get(client, "u-2", &user), 0);
    end();
}

END_TEST

/* A watch that fails tells how, after the states before it. */
START_TEST(client_tells_how_a_watch_fails)
{
    struct seen seen = {.count_max = 10};

    begin();
    ck_assert_int_eq(user_client_watch(client, "lost", on_state, &seen), USER_CLIENT_E_FAILED);
    ck_assert_uint_eq(seen.count, 1);
    ck_assert_int_eq(user_client_failure(client)->status, GRPC_STATUS_UNAVAILABLE);
    ck_assert_int_eq(user_client_watch(client, "garbage", on_state, &seen), USER_CLIENT_E_FAILED);
    ck_assert_uint_eq(seen.count, 2);
    ck_assert_int_eq(user_client_failure(client)->status, GRPC_STATUS_INTERNAL);
    end();
}

END_TEST

static bool interrupt(void *context, const struct user_client_user *state)
{
    (void)context;
    (void)state;
    interrupted = 1;
    return true;
}

/* An interrupted program gets its call back, cancelled. */
START_TEST(client_is_interrupted)
{
    begin();
    ck_assert_int_eq(user_client_watch(client, "silent", interrupt, NULL), USER_CLIENT_E_FAILED);
    ck_assert_int_eq(user_client_failure(client)->status, GRPC_STATUS_CANCELLED);
    ck_assert_int_eq(user_client_failure(client)->cause, CHANNEL_CAUSE_CANCELLED);
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

static void on_reply(void *context, const struct user_client_reply *reply)
{
    struct answers *answers = context;

    ck_assert_uint_eq(reply->index, answers->count);
    answers->count++;
    if (reply->user == NULL) {
        ck_assert_int_eq(reply->failure->status, GRPC_STATUS_ALREADY_EXISTS);
        ck_assert_str_eq(reply->failure->message, "User already exists");
        answers->failed++;
        answers->last_failed = reply->index;
        return;
    }
    (void)snprintf(answers->id, sizeof(answers->id), "%s", reply->user->id);
    (void)snprintf(answers->username, sizeof(answers->username), "%s", reply->user->username);
    (void)snprintf(answers->email, sizeof(answers->email), "%s", reply->user->email);
    (void)snprintf(answers->password, sizeof(answers->password), "%s", reply->user->etag);
}

static void open_stream(enum user_client_stream_kind kind, struct answers *answers)
{
    const struct user_client_stream_options options = {
        .kind = kind,
        .continue_on_error = kind == USER_CLIENT_BATCH_CREATE,
        .reply = on_reply,
        .context = answers,
    };

    *answers = (struct answers){0};
    ck_assert_int_eq(user_client_stream_open(client, &options), 0);
}

static int send_create(const char *username)
{
    const struct user_client_create create = {
        .username = username, .password = "correct horse", .request_id = "r-1"};

    return user_client_stream_create(client, &create);
}

/* Many items are pipelined; each is answered in order, the failed ones as failures. */
START_TEST(client_creates_a_batch)
{
    struct answers answers;

    begin();
    open_stream(USER_CLIENT_BATCH_CREATE, &answers);
    for (unsigned i = 0; i < 5000; i++) {
        ck_assert_int_eq(send_create(i % 1000 == 999 ? "taken" : "ada"), 0);
    }
    ck_assert_uint_gt(answers.count, 0);
    ck_assert_int_eq(user_client_stream_finish(client), 0);
    ck_assert_uint_eq(answers.count, 5000);
    ck_assert_uint_eq(answers.failed, 5);
    ck_assert_uint_eq(answers.last_failed, 4999);
    ck_assert_str_eq(answers.username, "ada");
    ck_assert_str_eq(answers.password, "correct horse");
    ck_assert_str_eq(answers.email, "true");
    ck_assert_str_eq(answers.id, "r-1");
    ck_assert_int_eq(user_client_get(client, "u-2", &user), 0);
    end();
}

END_TEST

/* Whoever has nothing to send still hears of replies. */
START_TEST(client_turns_a_stream)
{
    struct answers answers;

    begin();
    open_stream(USER_CLIENT_BATCH_CREATE, &answers);
    ck_assert_int_eq(send_create("ada"), 0);
    while (answers.count == 0) {
        ck_assert_int_eq(user_client_stream_turn(client, CLOCK_NS_PER_S), 0);
    }
    user_client_stream_abort(client);
    ck_assert_int_eq(user_client_get(client, "u-2", &user), 0);
    end();
}

END_TEST

/* A stream that the server ends fails with its status and the index of the item. */
START_TEST(client_tells_how_a_stream_fails)
{
    struct answers answers;
    int ret = 0;

    begin();
    open_stream(USER_CLIENT_BATCH_CREATE, &answers);
    ck_assert_int_eq(send_create("ada"), 0);
    ck_assert_int_eq(send_create("end"), 0);
    for (unsigned i = 0; i < 100000 && ret == 0; i++) {
        ret = send_create("late");
    }
    ck_assert_int_eq(ret, USER_CLIENT_E_FAILED);
    ck_assert_uint_eq(answers.count, 1);
    ck_assert_int_eq(user_client_stream_finish(client), USER_CLIENT_E_FAILED);
    ck_assert_int_eq(user_client_failure(client)->status, GRPC_STATUS_ALREADY_EXISTS);
    ck_assert_int_eq(user_client_failure(client)->index, 12);
    ck_assert_ptr_nonnull(strstr(user_client_failure(client)->details, "index"));
    end();
}

END_TEST

static void expect_broken(const char *username, const char *message)
{
    struct answers answers;

    open_stream(USER_CLIENT_BATCH_CREATE, &answers);
    ck_assert_int_eq(send_create(username), 0);
    ck_assert_int_eq(user_client_stream_finish(client), USER_CLIENT_E_FAILED);
    ck_assert_int_eq(user_client_failure(client)->status, GRPC_STATUS_INTERNAL);
    ck_assert_str_eq(user_client_failure(client)->message, message);
    ck_assert_int_eq(user_client_failure(client)->index, -1);
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
    const struct user_client_user one = {.id = "u-9", .username = "ada", .email = "a@b.example"};
    struct answers answers;

    begin();
    open_stream(USER_CLIENT_SYNC, &answers);
    ck_assert_int_eq(user_client_stream_sync(client, &one), 0);
    ck_assert_int_eq(user_client_stream_sync(client, &one), 0);
    ck_assert_int_eq(user_client_stream_finish(client), 0);
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
    open_stream(USER_CLIENT_BATCH_CREATE, &answers);
    ck_assert_int_eq(send_create("ada"), 0);
    end();
    ck_assert_uint_eq(answers.count, 0);
}

END_TEST

/* What cannot work is refused before anything is sent, in words. */
START_TEST(client_refuses_bad_options)
{
    struct user_client_options options = {.target = "no port", .timeout_ns = CHANNEL_NO_DEADLINE};

    ck_assert_int_eq(user_client_new(&options, problem, &client), USER_CLIENT_E_OPTIONS);
    ck_assert_ptr_nonnull(strstr(problem, "no port"));
    options.target = "userd.invalid:1";
    ck_assert_int_eq(user_client_new(&options, problem, &client), USER_CLIENT_E_UNRESOLVED);
    options.target = "localhost:1";
    options.ca_file = "/nonexistent/ca.pem";
    ck_assert_int_eq(user_client_new(&options, problem, &client), USER_CLIENT_E_OPTIONS);
    ck_assert_ptr_nonnull(strstr(problem, "/nonexistent/ca.pem"));
    options.cert_file = "/nonexistent/cert.pem";
    ck_assert_int_eq(user_client_new(&options, problem, &client), USER_CLIENT_E_OPTIONS);
    user_client_free(NULL);
}

END_TEST

/* Statuses go by their full and their short name, in any case. */
START_TEST(client_knows_status_names)
{
    ck_assert_int_eq(user_client_status_from_name("USER_STATUS_ACTIVE"), 1);
    ck_assert_int_eq(user_client_status_from_name("suspended"), 3);
    ck_assert_int_eq(user_client_status_from_name("asleep"), -1);
    ck_assert_int_eq(user_client_status_from_name(""), -1);
    ck_assert_str_eq(user_client_status_name(2), "USER_STATUS_INACTIVE");
    ck_assert_ptr_null(user_client_status_name(99));
}

END_TEST

UNIT_MAIN("user_client", client_gets_a_user, client_tells_failures, client_refuses_wrong_answers,
          client_keeps_its_deadline, client_creates_a_user, client_updates_a_user,
          client_deletes_a_user, client_lists_users, client_watches_a_user,
          client_tells_how_a_watch_fails, client_is_interrupted, client_creates_a_batch,
          client_turns_a_stream, client_tells_how_a_stream_fails, client_counts_replies,
          client_syncs_users, client_is_freed_with_a_stream, client_refuses_bad_options,
          client_knows_status_names)
