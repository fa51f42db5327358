#include "userbench_requests.h"

#include "http2/proto_wire.h"
#include "userbench_problem.h"

#include <inttypes.h>
#include <stdio.h>

#define TEXT_SIZE 64
#define PASSWORD  "correct horse battery staple"

/* Field numbers of users.v1. */
#define GET_ID             1
#define CREATE_USERNAME    1
#define CREATE_EMAIL       2
#define CREATE_PASSWORD    3
#define UPDATE_ID          1
#define UPDATE_USER        2
#define UPDATE_MASK        3
#define LIST_PAGE_SIZE     1
#define LIST_FILTER        3
#define USER_ID            1
#define USER_USERNAME      2
#define USER_EMAIL         3
#define USER_STATUS        6
#define USER_PROFILE       7
#define PROFILE_FIRST_NAME 1
#define MASK_PATHS         1

static const struct {
    const char *name;
    const char *path;
    bool is_stream;
} methods[USERBENCH_METHOD_COUNT] = {
    [USERBENCH_GET] = {"GetUser", "/users.v1.UserService/GetUser", false},
    [USERBENCH_CREATE] = {"CreateUser", "/users.v1.UserService/CreateUser", false},
    [USERBENCH_UPDATE] = {"UpdateUser", "/users.v1.UserService/UpdateUser", false},
    [USERBENCH_DELETE] = {"DeleteUser", "/users.v1.UserService/DeleteUser", false},
    [USERBENCH_LIST] = {"ListUsers", "/users.v1.UserService/ListUsers", false},
    [USERBENCH_WATCH] = {"WatchUser", "/users.v1.UserService/WatchUser", false},
    [USERBENCH_BATCH] = {"BatchCreateUsers", "/users.v1.UserService/BatchCreateUsers", true},
    [USERBENCH_SYNC] = {"SyncUsers", "/users.v1.UserService/SyncUsers", true},
};

const char *userbench_method_name(enum userbench_method method)
{
    return methods[method].name;
}

const char *userbench_method_path(enum userbench_method method)
{
    return methods[method].path;
}

bool userbench_method_is_stream(enum userbench_method method)
{
    return methods[method].is_stream;
}

static void need(int result)
{
    if (result != 0) {
        userbench_problem("no memory");
    }
}

static void put_text(struct buf *out, uint32_t number, const char *text)
{
    need(proto_wire_append_bytes(out, number, bytes_from_text(text)));
}

static void make_create(struct userbench_requests *requests)
{
    char text[TEXT_SIZE];

    requests->made++;
    (void)snprintf(text, sizeof(text), "bench.%" PRIx64 ".%" PRIu64, requests->run,
                   requests->made); /* fits, as all below do */
    put_text(&requests->message, CREATE_USERNAME, text);
    (void)snprintf(text, sizeof(text), "bench.%" PRIx64 ".%" PRIu64 "@example.com", requests->run,
                   requests->made);
    put_text(&requests->message, CREATE_EMAIL, text);
    put_text(&requests->message, CREATE_PASSWORD, PASSWORD);
}

/* The profile with a first name that differs from change to change, as a field of `out`. */
static void put_profile(struct userbench_requests *requests, struct buf *out)
{
    char text[TEXT_SIZE];

    (void)snprintf(text, sizeof(text), "First%" PRIu64, ++requests->made);
    buf_clear(&requests->profile);
    put_text(&requests->profile, PROFILE_FIRST_NAME, text);
    need(proto_wire_append_bytes(out, USER_PROFILE, buf_bytes(&requests->profile)));
}

static void make_update(struct userbench_requests *requests, const char *id)
{
    buf_clear(&requests->user);
    put_profile(requests, &requests->user);
    put_text(&requests->message, UPDATE_ID, id);
    need(proto_wire_append_bytes(&requests->message, UPDATE_USER, buf_bytes(&requests->user)));
    buf_clear(&requests->user);
    put_text(&requests->user, MASK_PATHS, "profile.first_name");
    need(proto_wire_append_bytes(&requests->message, UPDATE_MASK, buf_bytes(&requests->user)));
}

static void make_sync(struct userbench_requests *requests, uint64_t user, const char *id)
{
    char text[TEXT_SIZE];

    put_text(&requests->message, USER_ID, id);
    (void)snprintf(text, sizeof(text), "user.number%07" PRIu64, user);
    put_text(&requests->message, USER_USERNAME, text);
    (void)snprintf(text, sizeof(text), "user.number%07" PRIu64 "@example.com", user);
    put_text(&requests->message, USER_EMAIL, text);
    need(proto_wire_append_varint(&requests->message, USER_STATUS, 1));
    put_profile(requests, &requests->message);
}

static void make_list(struct userbench_requests *requests)
{
    if (requests->page_size > 0) {
        need(proto_wire_append_varint(&requests->message, LIST_PAGE_SIZE, requests->page_size));
    }
    if (requests->filter != NULL) {
        put_text(&requests->message, LIST_FILTER, requests->filter);
    }
}

static void make_delete(struct userbench_requests *requests, char id[USERBENCH_ID_SIZE])
{
    if (requests->deletable == 0) {
        userbench_problem("DeleteUser has taken the tenth of the users that it may take; give it a "
                          "smaller share in --mix, or more --users");
    }
    requests->deletable--;
    userbench_data_format_id(requests->ids.users + requests->deletable, id);
    put_text(&requests->message, GET_ID, id);
}

struct bytes userbench_requests_make(struct userbench_requests *requests,
                                     enum userbench_method method, char id[USERBENCH_ID_SIZE])
{
    uint64_t user = userbench_ids_next(&requests->ids);

    buf_clear(&requests->message);
    userbench_data_format_id(user, id);
    switch (method) {
    case USERBENCH_CREATE:
    case USERBENCH_BATCH:
        id[0] = '\0';
        make_create(requests);
        break;
    case USERBENCH_UPDATE:
        make_update(requests, id);
        break;
    case USERBENCH_DELETE:
        make_delete(requests, id);
        break;
    case USERBENCH_LIST:
        id[0] = '\0';
        make_list(requests);
        break;
    case USERBENCH_SYNC:
        make_sync(requests, user, id);
        break;
    case USERBENCH_GET:
    case USERBENCH_WATCH:
    case USERBENCH_METHOD_COUNT:
    default:
        put_text(&requests->message, GET_ID, id);
        break;
    }
    return buf_bytes(&requests->message);
}

void userbench_requests_deinit(struct userbench_requests *requests)
{
    userbench_ids_deinit(&requests->ids);
    buf_deinit(&requests->message);
    buf_deinit(&requests->user);
    buf_deinit(&requests->profile);
}
