/*
 * Which thread a client belongs to: the one that made it. The kernel takes the entries of a ring
 * from that thread alone, and whoever else tried would end the loop for good; so others are turned
 * away before anything is touched.
 *
 * The numbers that the system gives to threads, and the addresses of what is theirs, come again
 * when a thread has ended. The numbers here do not, so a client never belongs to a thread that only
 * looks like its own. The child of a fork() has the same memory and is another thread; it gets a
 * new number.
 */
#include "client/userd_client_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

static _Thread_local uint64_t own_number; /* 0 = none yet */

static void on_fork(void)
{
    own_number = 0;
}

static void watch_forks(void)
{
    /* Without memory for that, a child that uses its parent's client is not caught. */
    (void)pthread_atfork(NULL, NULL, on_fork);
}

uint64_t userd_thread_number(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static atomic_uint_fast64_t last_number;

    if (own_number == 0) {
        (void)pthread_once(&once, watch_forks); /* cannot fail */
        own_number = atomic_fetch_add(&last_number, 1) + 1;
    }
    return own_number;
}

bool userd_is_mine(const struct userd_client *client)
{
    if (client->thread == userd_thread_number()) {
        return true;
    }
    userd_set_last_problem("%s", USERD_NOT_MINE_TEXT);
    return false;
}

int userd_may_start(const struct userd_client *client)
{
    if (!userd_is_mine(client)) {
        return -EPERM;
    }
    if (client->is_closing) {
        userd_set_last_problem("the client is being freed");
        return -ECANCELED;
    }
    if (client->loop_error != 0) {
        userd_set_last_problem("the event loop has failed: %s", strerror(-client->loop_error));
        return -EIO;
    }
    return 0;
}
