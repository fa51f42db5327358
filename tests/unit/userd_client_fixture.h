/*
 * A server of users.v1 for clients that block: another process, a forked child that runs a
 * scripted_server until it is killed. What it saw of a request comes back inside the answer.
 * Include it in one file of a test program only.
 *
 * Thread: one.
 */
#ifndef UNIT_USERD_CLIENT_FIXTURE_H
#define UNIT_USERD_CLIENT_FIXTURE_H

#include "lib/scripted_server.h"
#include "lib/unit.h"

#include "core/clock.h"
#include "core/reactor.h"
#include "userd/client.h"

#include <users/v1/users.pb-c.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MANY_ROLES  1200
#define ROLES_FIELD 5 /* of users.v1.User */

static pid_t child;
static struct userd_client *client;
static char target[32]; /* of the server */

static inline void pack_and_reply(struct scripted_request *request, const ProtobufCMessage *message)
{
    uint8_t packed[1024];

    ck_assert_uint_le(protobuf_c_message_get_packed_size(message), sizeof(packed));
    scripted_request_reply(request,
                           (struct bytes){packed, protobuf_c_message_pack(message, packed)});
}

static inline void *unpack(struct scripted_request *request,
                           const ProtobufCMessageDescriptor *descriptor)
{
    struct bytes body = buf_bytes(&request->body);
    void *message = protobuf_c_message_unpack(descriptor, NULL, body.size - 5, body.data + 5);

    ck_assert_ptr_nonnull(message);
    return message;
}

/* Few bytes on the wire, and many once they are unpacked. */
static inline void answer_many_roles(struct scripted_request *request)
{
    uint8_t packed[4 + 3 * MANY_ROLES];
    uint8_t *at = packed;

    *at++ = 0x0a; /* the user, and its size */
    *at++ = 0x80 | (3 * MANY_ROLES & 0x7f);
    *at++ = 3 * MANY_ROLES >> 7;
    for (int i = 0; i < MANY_ROLES; i++) {
        *at++ = ROLES_FIELD << 3 | 2;
        *at++ = 1;
        *at++ = 'r';
    }
    scripted_request_reply(request, (struct bytes){packed, (size_t)(at - packed)});
}

static inline void answer_get(struct scripted_request *request)
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
    one.etag = request->is_secret ? second : first;
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
    } else if (strcmp(in->id, "unavailable") == 0) {
        scripted_request_refuse(request, "200", "application/grpc", "14", "not now");
    } else if (strcmp(in->id, "stranger") == 0) {
        scripted_request_refuse(request, "200", "application/grpc", "16", "who are you?");
    } else if (strcmp(in->id, "many") == 0) {
        answer_many_roles(request);
    } else if (strcmp(in->id, "silent") != 0) {
        pack_and_reply(request, &out.base);
    }
    if (strcmp(in->id, "leave") == 0) { /* the answer, goodbye, and the end */
        h2_session_end(request->connection->session, H2_ERROR_NO_ERROR, "bye");
        conn_close(request->connection->conn);
    }
    protobuf_c_message_free_unpacked(&in->base, NULL);
}

static inline void answer_create(struct scripted_request *request)
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
static inline void answer_update(struct scripted_request *request)
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

static inline void answer_delete(struct scripted_request *request)
{
    Users__V1__DeleteUserRequest *in = unpack(request, &users__v1__delete_user_request__descriptor);
    Users__V1__DeleteUserResponse out;

    users__v1__delete_user_response__init(&out);
    out.success = strcmp(in->id, "victim") == 0 && strcmp(in->etag, "v1") == 0;
    pack_and_reply(request, &out.base);
    protobuf_c_message_free_unpacked(&in->base, NULL);
}

/* Two pages of one user each, who shows what was asked for. */
static inline void answer_list(struct scripted_request *request)
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

static inline void send_user(struct scripted_request *request, char *id,
                             Users__V1__UserStatus status)
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
static inline void answer_watch(struct scripted_request *request)
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
static inline void answer_created(struct scripted_request *request,
                                  const Users__V1__CreateUserRequest *in)
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

static inline void on_received(struct scripted_server *peer, struct scripted_request *request)
{
    struct bytes message;
    Users__V1__CreateUserRequest *in;

    (void)peer;
    if (strcmp(request->path, "/users.v1.UserService/SyncUsers") == 0 ||
        strcmp(request->path, "/echo.Echo/Stream") == 0) {
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

/* NOT_SERVING for a named service, SERVING for the whole server. */
static inline void answer_health(struct scripted_request *request)
{
    scripted_request_reply(request, buf_size(&request->body) == 5 ? BYTES_LITERAL("\x08\x01")
                                                                  : BYTES_LITERAL("\x08\x02"));
}

static inline void answer_echo(struct scripted_request *request)
{
    const struct bytes body = buf_bytes(&request->body);

    scripted_request_reply(request, (struct bytes){body.data + 5, body.size - 5});
}

/* The field that came, and one of the same name in head and trailers. */
static inline void answer_probe(struct scripted_request *request)
{
    const struct h2_field head[] = {
        {.name = BYTES_LITERAL(":status"), .value = BYTES_LITERAL("200")},
        {.name = BYTES_LITERAL("content-type"), .value = BYTES_LITERAL("application/grpc")},
        {.name = BYTES_LITERAL("x-seen"), .value = BYTES_LITERAL("head")},
    };

    ck_assert_int_eq(h2_stream_respond(request->stream, head, 3, false), 0);
    request->has_head = true;
    scripted_request_send(request, bytes_from_text(request->probe));
    scripted_request_finish(request, "0", "x-seen", "trailers");
}

static inline void answer(struct scripted_server *peer, struct scripted_request *request)
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
    } else if (strcmp(request->path, "/grpc.health.v1.Health/Check") == 0) {
        answer_health(request);
    } else if (strcmp(request->path, "/echo.Echo/Unary") == 0) {
        answer_echo(request);
    } else if (strcmp(request->path, "/echo.Echo/Probe") == 0) {
        answer_probe(request);
    } else if (strcmp(request->path, "/echo.Echo/Stream") == 0) {
        scripted_request_finish(request, "0", NULL, NULL);
    } else if (strcmp(request->path, "/users.v1.UserService/DeleteUser") == 0) {
        answer_delete(request);
    } else {
        scripted_request_refuse(request, "200", "application/grpc", "12", "no such method");
    }
}

/* On that port; NULL = any. */
static inline void serve(int pipe_fd, const char *port)
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
    if (port != NULL) {
        scripted_server_close(&peer);
        (void)snprintf(peer.port, sizeof(peer.port), "%s", port);
        scripted_server_reopen(&peer);
    }
    if (write(pipe_fd, peer.port, sizeof(peer.port)) != (ssize_t)sizeof(peer.port)) {
        _exit(1);
    }
    (void)reactor_run(&reactor);
    _exit(1);
}

static inline void start_server_on(const char *old_port)
{
    char port[6];
    int pipes[2];

    ck_assert_int_eq(pipe(pipes), 0);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that dies leaves no server */
        serve(pipes[1], old_port);
    }
    ck_assert_int_eq(read(pipes[0], port, sizeof(port)), sizeof(port));
    (void)close(pipes[0]);
    (void)close(pipes[1]);
    (void)snprintf(target, sizeof(target), "127.0.0.1:%s", port);
}

/* Starts the server and fills in `target`. */
static inline void start_server(void)
{
    start_server_on(NULL);
}

static inline void stop_server(void)
{
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
}

static inline bool is_listened_to(const char *port)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)strtol(port, NULL, 10)),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is;

    ck_assert_int_ge(fd, 0);
    is = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
    (void)close(fd);
    return is;
}

static inline void pause_ms(uint64_t ms)
{
    const struct timespec pause = {.tv_sec = (time_t)(ms / 1000),
                                   .tv_nsec = (long)(ms % 1000) * 1000000};

    ck_assert_int_eq(nanosleep(&pause, NULL), 0);
}

/* Also waits until its port is free: what its ring held goes some time after it. */
static inline void stop_server_for_another(void)
{
    stop_server();
    while (is_listened_to(strrchr(target, ':') + 1)) {
        pause_ms(1);
    }
}

/* Another one, where the last one was. */
static inline void start_another_server(void)
{
    char port[6];

    (void)snprintf(port, sizeof(port), "%s", strrchr(target, ':') + 1);
    start_server_on(port);
}

/* A client of that server. */
static inline struct userd_client *new_client(const struct userd_client_options *options)
{
    struct userd_client *made = NULL;

    ck_assert_msg(userd_client_new(options, &made) == 0, "%s", userd_last_problem());
    return made;
}

static inline struct userd_client_options test_options(void)
{
    struct userd_client_options options = USERD_CLIENT_OPTIONS_INIT;

    options.target = target;
    options.plaintext = true;
    options.token = "t0ken";
    options.timeout_ms = USERD_NO_TIMEOUT;
    return options;
}

/* Server and client. */
static inline void begin(void)
{
    struct userd_client_options options;

    start_server();
    options = test_options();
    client = new_client(&options);
}

static inline void end(void)
{
    userd_client_free(client);
    stop_server();
}

#endif
