/*
 * Makes and frees clients again and again, in every state of a connection and a call: what a leak
 * or a use after free would show under AddressSanitizer.
 *
 *     client-rounds TARGET CA_FILE TOKEN_FILE ROUNDS
 *
 * Prints how many rounds ended in which way. Exits 0 when every call that was begun ended once,
 * and no descriptor is left.
 */
#include <userd/client.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CALLS 8 /* at most, in one round */

struct tally {
    unsigned begun;
    unsigned ended;
    unsigned ok;
    unsigned cancelled;
    unsigned other;
};

static void count(struct tally *tally, const struct userd_error *error)
{
    tally->ended++;
    if (error->code == USERD_OK)
        tally->ok++;
    else if (error->code == USERD_CANCELLED)
        tally->cancelled++;
    else
        tally->other++;
}

static void on_user(void *context, const struct userd_error *error, const struct userd_user *user)
{
    (void)user;
    count(context, error);
}

static void on_state(void *context, const struct userd_user *user)
{
    (void)context;
    (void)user;
}

static void on_reply(void *context, const struct userd_reply *reply)
{
    (void)context;
    (void)reply;
}

static void on_ended(void *context, const struct userd_error *error)
{
    count(context, error);
}

static struct userd_call *begin(struct userd_client *client, unsigned kind, struct tally *tally)
{
    static const struct userd_watch_events watch = {sizeof(watch), on_state, on_ended};
    static const struct userd_stream_events sync = {sizeof(sync), on_reply, NULL, on_ended};
    struct userd_call *call;

    if (kind % 4 == 0)
        call = userd_start_watch(client, NULL, "nobody", &watch, tally);
    else if (kind % 4 == 1)
        call = userd_start_sync(client, NULL, &sync, tally);
    else
        call = userd_start_get_user(client, NULL, "nobody", on_user, tally);
    if (call != NULL)
        tally->begun++;
    return call;
}

/* `number` decides how many calls there are, which are cancelled, and when the client is freed. */
static int round_of(const struct userd_client_options *options, unsigned number,
                    struct tally *tally)
{
    struct userd_call *calls[CALLS];
    struct userd_client *client;
    unsigned count_of_calls = number % (CALLS + 1);

    if (userd_client_new(options, &client) != 0) {
        fprintf(stderr, "client-rounds: %s\n", userd_last_problem());
        return 1;
    }
    if (number % 3 == 0)
        userd_client_connect(client);
    for (unsigned i = 0; i < count_of_calls; i++)
        calls[i] = begin(client, number + i, tally);
    /* A few turns: resolving, connecting, the handshake, the answer, each may be cut off. */
    for (unsigned i = 0; i < number % 7; i++)
        if (userd_client_run(client, 1) != 0)
            return 1;
    /* None of these calls has ended for sure, so only those of a client that made no turn are still
     * valid. */
    for (unsigned i = 0; i < count_of_calls && number % 7 == 0; i += 2)
        if (calls[i] != NULL)
            userd_call_cancel(calls[i]);
    if (number % 5 == 0)
        userd_get_user(client, NULL, "nobody", NULL); /* all the way, once in a while */

    userd_client_free(client);
    return 0;
}

int main(int argc, char **argv)
{
    struct userd_client_options options = USERD_CLIENT_OPTIONS_INIT;
    struct tally tally = {0};
    unsigned rounds;

    if (argc != 5)
        return 64;
    signal(SIGPIPE, SIG_IGN);
    options.target = argv[1];
    options.ca_file = argv[2];
    options.server_name = "localhost";
    options.token_file = argv[3];
    rounds = (unsigned)strtoul(argv[4], NULL, 10);
    for (unsigned i = 0; i < rounds; i++)
        if (round_of(&options, i, &tally) != 0)
            return 1;
    printf("%u rounds: %u calls begun, %u ended: %u ok, %u cancelled, %u otherwise\n", rounds,
           tally.begun, tally.ended, tally.ok, tally.cancelled, tally.other);
    /* The next free descriptor is a low one unless some were left open. */
    return tally.begun == tally.ended && dup(0) < 16 ? 0 : 1;
}
