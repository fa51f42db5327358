#include "userctl_follow.h"

#include "common_json.h"
#include "core/clock.h"
#include "core/random.h"
#include "userctl_failure.h"
#include "userctl_secret.h"
#include "userctl_terminal.h"

#include <stdio.h>
#include <string.h>

#define WAIT_FIRST_MS 500
#define WAIT_MOST_MS  30000
#define SLICE_MS      100 /* a signal is noticed within it */

void userctl_follow_well(struct userctl_follow *follow)
{
    follow->failures = 0;
    follow->was_well = true;
}

static bool is_expired(const struct userd_error *error)
{
    return error->code == USERD_UNAUTHENTICATED && strstr(error->details, "TOKEN_EXPIRED") != NULL;
}

bool userctl_follow_is_passing(const struct userctl_follow *follow, const struct userd_error *error)
{
    if (!follow->was_well) {
        return false;
    }
    switch (error->cause) {
    case USERD_CAUSE_CONNECT:
    case USERD_CAUSE_TLS: /* it was good before, and may be cut short now */
    case USERD_CAUSE_LOST:
    case USERD_CAUSE_REFUSED:
    case USERD_CAUSE_BREAKER:
        return true;
    case USERD_CAUSE_ANSWER:
        /* A stream lives no longer than its token, and a fresh one may be there by now. One that
         * has expired twice in a row is not renewed by anybody. */
        return error->code == USERD_UNAVAILABLE || error->code == USERD_RESOURCE_EXHAUSTED ||
               (is_expired(error) && follow->has_token_file && follow->failures == 0);
    case USERD_CAUSE_DEADLINE:
    case USERD_CAUSE_CANCELLED:
    case USERD_CAUSE_MEMORY:
    case USERD_CAUSE_CALLER:
        break;
    }
    return false;
}

uint64_t userctl_follow_wait_ms(unsigned failures, uint64_t chance)
{
    uint64_t wait = WAIT_FIRST_MS;

    for (unsigned i = 1; i < failures && wait < WAIT_MOST_MS; i++) {
        wait *= 2;
    }
    wait = wait > WAIT_MOST_MS ? WAIT_MOST_MS : wait;
    return wait - wait / 5 + chance % (wait * 2 / 5 + 1);
}

/* Turns the loop meanwhile, so that it notices the end of the connection. */
static void wait_for(struct userd_client *client, uint64_t wait_ms)
{
    uint64_t end_ns = clock_monotonic_ns(clock_system()) + wait_ms * CLOCK_NS_PER_MS;
    uint64_t now_ns = clock_monotonic_ns(clock_system());

    while (userctl_session_interrupted == 0 && now_ns < end_ns) {
        uint64_t left_ms = (end_ns - now_ns) / CLOCK_NS_PER_MS + 1;

        if (userd_client_run(client, left_ms < SLICE_MS ? left_ms : SLICE_MS) != 0) {
            return;
        }
        now_ns = clock_monotonic_ns(clock_system());
    }
}

static void say(const struct userd_error *error, uint64_t wait_ms)
{
    (void)fflush(stdout); /* what was shown stands before it */
    (void)fprintf(stderr, "%suserctl: %s:%s ", userctl_style(stderr, USERCTL_STYLE_WARNING),
                  is_expired(error) ? "the token has expired" : "the connection is lost",
                  userctl_style_end(stderr));
    common_json_plain(stderr, bytes_from_text(error->message));
    (void)fprintf(stderr, " (%s); again in %u.%u s\n", userd_code_name((int)error->code),
                  (unsigned)(wait_ms / 1000), (unsigned)(wait_ms % 1000 / 100));
}

bool userctl_follow_again(struct userctl_follow *follow, const struct userctl_session *session,
                          struct userd_client *client, const struct userd_error *error,
                          int *ret_exit_code)
{
    struct userctl_arguments shown = *session->arguments;
    uint64_t chance = 0;
    uint64_t wait_ms;
    bool is_passing;

    follow->has_token_file = userctl_secret_is_rotated(session->arguments);
    is_passing = userctl_follow_is_passing(follow, error);
    if (userctl_session_interrupted != 0) {
        *ret_exit_code = 0;
        return false;
    }
    if (!is_passing || session->arguments->no_reconnect) {
        /* Who has answered in plain text does not want TLS. */
        shown.plaintext = shown.plaintext && !follow->was_well;
        *ret_exit_code = userctl_failure(&shown, error);
        if (is_passing && error->cause == USERD_CAUSE_LOST) {
            (void)fputs("the connection is lost, and the watch with it\n", stderr);
        }
        return false;
    }
    follow->failures++;
    random_fill(random_system(), &chance, sizeof(chance));
    wait_ms = userctl_follow_wait_ms(follow->failures, chance);
    say(error, wait_ms);
    wait_for(client, wait_ms);
    *ret_exit_code = 0;
    return userctl_session_interrupted == 0;
}
