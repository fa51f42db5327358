#include "core/signals.h"

#include "core/clock.h"
#include "core/reactor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define RETRY_NS (100 * CLOCK_NS_PER_MS)

static void on_readable(struct ring_op *op, const struct ring_event *event);

/* Polls for the next signal. When the ring has no room, a timer asks again. */
static void wait_for_signal(struct signals *signals)
{
    signals->op.done = on_readable;
    if (ring_poll(signals->reactor->ring, &signals->op, signals->fd, POLLIN) < 0) {
        /* Without memory even for that, signals are lost; the next thing to come is the OOM killer.
         */
        (void)reactor_start_timer(signals->reactor, &signals->retry_timer, RETRY_NS);
    }
}

static void on_retry(struct timer *timer)
{
    struct signals *signals = CONTAINER_OF(timer, struct signals, retry_timer);

    (void)reactor_start_timer(signals->reactor, timer, UINT64_MAX); /* the place it had is free */
    wait_for_signal(signals);
}

static void let_go(struct signals *signals)
{
    reactor_stop_timer(signals->reactor, &signals->retry_timer);
    (void)close(signals->fd); /* nothing was written to it */
    signals->fd = -1;
}

static void on_readable(struct ring_op *op, const struct ring_event *event)
{
    struct signals *signals = CONTAINER_OF(op, struct signals, op);
    struct signalfd_siginfo info;

    (void)event; /* whatever woke us, reading tells what is there */
    /* Does not block: the descriptor is non-blocking. A callback may close us. */
    signals->reading = true;
    while (!signals->closing && read(signals->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        signals->caught(signals, (int)info.ssi_signo);
    }
    signals->reading = false;
    if (signals->closing) {
        let_go(signals);
    } else {
        wait_for_signal(signals);
    }
}

static void end_at_once(int number)
{
    _exit(128 + number);
}

/* The kernel drops signals to process 1 for which it has no handler, SIGTERM among them. */
static void be_process_1(void)
{
    const struct sigaction end = {.sa_handler = end_at_once};
    const struct sigaction reap = {.sa_handler = SIG_IGN};

    (void)sigaction(SIGTERM, &end, NULL); /* none of these can fail */
    (void)sigaction(SIGINT, &end, NULL);
    (void)sigaction(SIGCHLD, &reap, NULL);
}

void signals_hold_requests(void)
{
    sigset_t set;

    if (getpid() == 1) {
        be_process_1();
    }
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &set, NULL); /* cannot fail */
}

int signals_open(struct signals *signals, struct reactor *reactor,
                 void (*caught)(struct signals *signals, int number))
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t set;
    int fd;
    int result;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    if (sigaction(SIGPIPE, &ignore, NULL) < 0 || sigaction(SIGXFSZ, &ignore, NULL) < 0 ||
        sigprocmask(SIG_BLOCK, &set, NULL) < 0) {
        return -errno;
    }
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    *signals = (struct signals){.reactor = reactor, .caught = caught, .fd = fd};
    signals->retry_timer.fire = on_retry;
    result = reactor_start_timer(reactor, &signals->retry_timer, UINT64_MAX);
    if (result < 0) {
        let_go(signals);
        return result;
    }
    wait_for_signal(signals);
    return 0;
}

void signals_close(struct signals *signals)
{
    if (signals->closing) {
        return;
    }
    signals->closing = true;
    if (signals->op.pending) {
        ring_cancel(signals->reactor->ring, &signals->op);
    } else if (!signals->reading) {
        let_go(signals);
    }
}
