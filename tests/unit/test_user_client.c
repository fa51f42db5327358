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

static void answer(struct scripted_server *peer, struct scripted_request *request)
{
    (void)peer;
    if (strcmp(request->path, "/users.v1.UserService/GetUser") == 0) {
        answer_get(request);
    } else if (strcmp(request->path, "/users.v1.UserService/CreateUser") == 0) {
        answer_create(request);
    } else if (strcmp(request->path, "/users.v1.UserService/UpdateUser") == 0) {
        answer_update(request);
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
    if (write(pipe_fd, peer.port, sizeof(peer.port)) != (ssize_t)sizeof(peer.port)) {
        _exit(1);
    }
    (void)reactor_run(&reactor);
    _exit(1);
}

static void open_client(const char *target, uint64_t timeout_ns)
{
    const struct user_client_options options = {
        .target = target, .token = "t0ken", .timeout_ns = timeout_ns};

    ck_assert_msg(user_client_new(&options, problem, &client) == 0, "%s", problem);
}

static void begin_with_timeout(uint64_t timeout_ns)
{
    char target[32];
    char port[6];
    int pipes[2];

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
          client_deletes_a_user, client_refuses_bad_options, client_knows_status_names)
