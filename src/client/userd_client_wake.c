/*
 * A word from another thread, or from a signal handler, to a client's loop.
 *
 * 1. Whoever has something to say writes to an eventfd: nothing else of the client is touched.
 * 2. A read of it is pending on the ring all the time. It completes, and with it the turn; a loop
 * around this one hears of that like of any other event.
 * 3. The client remembers until a userd_client_run() returns: a word that comes while a blocking
 * function turns the loop is not lost on who runs it afterwards.
 */
#include "client/userd_client_internal.h"
#include "core/ring.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void on_woken(struct ring_op *op, const struct ring_event *event)
{
    struct userd_client *client = CONTAINER_OF(op, struct userd_client, wake_op);

    if (event->result > 0) {
        client->is_woken = true;
    }
    userd_wake_listen(client);
}

int userd_wake_open(struct userd_client *client)
{
    client->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (client->wake_fd < 0) {
        const int error = errno;

        userd_set_last_problem("no descriptor for the event loop: %s", strerror(error));
        return -error;
    }
    client->wake_op.done = on_woken;
    userd_wake_listen(client);
    ring_submit(client->reactor.ring); /* a loop around ours may wait before the first turn */
    return 0;
}

void userd_wake_listen(struct userd_client *client)
{
    if (!client->wake_op.pending && !client->is_closing) {
        (void)ring_read(client->reactor.ring, &client->wake_op, client->wake_fd,
                        &client->wake_count, sizeof(client->wake_count), 0);
    }
}

void userd_wake_stop(struct userd_client *client)
{
    ring_cancel(client->reactor.ring, &client->wake_op);
}

/* Async-signal-safe: write() is, and nothing else is called. */
void userd_client_wake(struct userd_client *client)
{
    const uint64_t one = 1;
    const int saved = errno;
    const ssize_t ret = write(client->wake_fd, &one, sizeof(one));

    (void)ret; /* nothing to be done, and nothing that could be wrong */
    errno = saved;
}
