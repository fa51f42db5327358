#include "lib/unit.h"

#include <userd/client.h>

/* What a blocking function leaves where its result should be when it fails: nothing of an earlier
 * one, which a program might take for the answer. */

static struct userd_client *client_of_nobody(void)
{
    struct userd_client_options options = USERD_CLIENT_OPTIONS_INIT;
    struct userd_client *client;

    options.target = "127.0.0.1:1";
    options.plaintext = true;
    ck_assert_int_eq(userd_client_new(&options, &client), 0);
    return client;
}

START_TEST(a_failure_leaves_no_result)
{
    struct userd_client *client = client_of_nobody();
    const struct userd_list_request list = USERD_LIST_REQUEST_INIT;
    const struct userd_user earlier = USERD_USER_INIT;
    const struct userd_user *user = &earlier;
    const struct userd_page *page = (const struct userd_page *)&earlier;
    const void *reply = &list;
    size_t reply_size = 1;
    bool success = true;
    int status = 1;

    ck_assert_int_eq(userd_get_user(client, NULL, "x", &user), USERD_UNAVAILABLE);
    ck_assert_ptr_null(user);
    ck_assert_int_eq(userd_list_users(client, NULL, &list, &page), USERD_UNAVAILABLE);
    ck_assert_ptr_null(page);
    ck_assert_int_eq(userd_delete_user(client, NULL, "x", NULL, &success), USERD_UNAVAILABLE);
    ck_assert(!success);
    ck_assert_int_eq(userd_check_health(client, NULL, NULL, &status), USERD_UNAVAILABLE);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(userd_call_raw(client, NULL, "/a.B/C", NULL, 0, &reply, &reply_size),
                     USERD_UNAVAILABLE);
    ck_assert_ptr_null(reply);
    ck_assert_uint_eq(reply_size, 0);
    ck_assert_int_eq(userd_call_raw(client, NULL, "/a.B/C", NULL, 0, NULL, NULL),
                     USERD_UNAVAILABLE);
    ck_assert_int_eq(userd_client_free(client), 0);
}

END_TEST

UNIT_MAIN("userd_client_results", a_failure_leaves_no_result)
