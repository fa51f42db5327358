#include "userd_client_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>

#define SECRET "S3CR3T-" /* begins the token, and what stands for a password */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#endif

#ifdef SANITIZED
#define REAL_FREE __interceptor_free
#else
#define REAL_FREE __libc_free
#endif

void REAL_FREE(void *memory);

static bool is_watching;
static unsigned leaked; /* pieces that still held a secret when they were freed */

/* Instead of the system's. */
void free(void *memory)
{
    if (is_watching && memory != NULL &&
        memmem(memory, malloc_usable_size(memory), SECRET, sizeof(SECRET) - 1) != NULL) {
        leaked++;
    }
    REAL_FREE(memory);
}

static char token_path[] = "/tmp/userd-token-XXXXXX";

static void write_token(const char *text)
{
    int fd = open(token_path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(close(fd), 0);
}

static void begin_with_token_file(const char *text)
{
    struct userd_client_options options;
    int fd;

    memcpy(token_path, "/tmp/userd-token-XXXXXX", sizeof(token_path));
    fd = mkstemp(token_path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(close(fd), 0);
    write_token(text);
    start_server();
    options = test_options();
    options.token = NULL;
    options.token_file = token_path;
    client = new_client(&options);
}

static void on_ended(void *context, const struct userd_error *error)
{
    *(enum userd_code *)context = error->code;
}

/* Messages of that size, with a secret in front, as unary calls and on a stream. */
static void send_secrets(size_t size)
{
    static uint8_t message[100000];
    struct userd_raw_events events = {.size = sizeof(events), .ended = on_ended};
    enum userd_code code = USERD_OK;
    struct userd_call *call;
    const void *reply;
    size_t reply_size;

    memset(message, 'm', size);
    memcpy(message, SECRET "password", sizeof(SECRET "password") - 1);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(
            userd_call_raw(client, NULL, "/no.Such/Method", message, size, &reply, &reply_size),
            USERD_UNIMPLEMENTED);
    }
    call = userd_start_raw(client, NULL, "/no.Such/Stream", &events, &code);
    ck_assert_ptr_nonnull(call);
    ck_assert_int_eq(userd_raw_send(call, message, size), 0);
    ck_assert_int_eq(userd_call_finish(call), 0);
    while (code == USERD_OK) {
        ck_assert_int_eq(userd_client_run(client, USERD_NO_TIMEOUT), 0);
    }
    ck_assert_int_eq(code, USERD_UNIMPLEMENTED);
    memset(message, 0, sizeof(message));
}

/* Of what was sent, and of the token it went with, nothing is in memory that goes back to the heap.
 */
START_TEST(client_leaves_no_secret)
{
    char *witness = strdup(SECRET);

    is_watching = true;
    free(witness);
    ck_assert_uint_eq(leaked, 1); /* the test can fail */
    leaked = 0;
    is_watching = false;
    begin_with_token_file(SECRET "abcdefghijklmnopqrstuvwxyz.ABCDEFGHIJKLMNOPQRSTUVWXYZ.0123456789."
                                 "abcdefghijklmnopqrstuvwxyz");
    is_watching = true;
    send_secrets(100);
    send_secrets(5000);
    send_secrets(100000);
    userd_client_free(client);
    is_watching = false;
    ck_assert_uint_eq(leaked, 0);
    ck_assert_int_eq(unlink(token_path), 0);
    stop_server();
}

END_TEST

/* Who is refused with a token whose file went bad hears of the file, and the server's words first.
 */
START_TEST(client_tells_of_a_bad_token_file)
{
    begin_with_token_file("t0ken");
    ck_assert_int_eq(userd_get_user(client, NULL, "stranger", NULL), USERD_UNAUTHENTICATED);
    ck_assert_str_eq(userd_client_error(client)->message, "who are you?");
    ck_assert_int_eq(unlink(token_path), 0);
    do { /* it is looked at once a second */
        ck_assert_int_eq(userd_get_user(client, NULL, "stranger", NULL), USERD_UNAUTHENTICATED);
    } while (strcmp(userd_client_error(client)->message, "who are you?") == 0);
    ck_assert_msg(strncmp(userd_client_error(client)->message, "who are you? (token file ", 25) ==
                          0 &&
                      strstr(userd_client_error(client)->message, token_path) != NULL &&
                      strstr(userd_client_error(client)->message, "path right?)") != NULL,
                  "%s", userd_client_error(client)->message);
    ck_assert_int_eq(userd_get_user(client, NULL, "unknown", NULL), USERD_NOT_FOUND);
    ck_assert_str_eq(userd_client_error(client)->message, "User unknown not found");
    userd_client_free(client);
    stop_server();
}

END_TEST

/* The program's standard input is not the library's. */
START_TEST(client_reads_no_standard_input)
{
    struct userd_client_options options = USERD_CLIENT_OPTIONS_INIT;

    options.target = "127.0.0.1:1";
    options.plaintext = true;
    options.token_file = "-";
    ck_assert_int_eq(userd_client_new(&options, &client), -EINVAL);
    ck_assert_ptr_nonnull(strstr(userd_last_problem(), "standard input"));
}

END_TEST

UNIT_MAIN("userd_client_secrets", client_leaves_no_secret, client_tells_of_a_bad_token_file,
          client_reads_no_standard_input)
