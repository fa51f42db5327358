#include "lib/unit.h"

#include "core/clock.h"
#include "core/reactor.h"
#include "core/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static struct reactor reactor;
static struct signals signals;
static unsigned caught[65];
static bool close_when_caught;

static void on_caught(struct signals *which, int number)
{
    ck_assert_ptr_eq(which, &signals);
    caught[number]++;
    if (close_when_caught) {
        signals_close(&signals);
    }
}

static void open_signals(void)
{
    struct ring_options options = {.entries = 8};
    char problem[RING_PROBLEM_SIZE] = "";

    memset(caught, 0, sizeof(caught));
    ck_assert_msg(reactor_init(&reactor, &options, clock_system(), NULL, problem) == 0, "%s",
                  problem);
    ck_assert_int_eq(signals_open(&signals, &reactor, on_caught), 0);
}

static void wait_for(int number, unsigned count)
{
    while (caught[number] < count) {
        ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
    }
    ck_assert_uint_eq(caught[number], count);
}

static void run_until_gone(void)
{
    while (ring_pending_count(reactor.ring) > 0) {
        ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
    }
    ck_assert_int_eq(signals.fd, -1);
    reactor_deinit(&reactor);
}

/* Each signal that is listened to is told once per delivery, also when several come together. */
START_TEST(signals_are_told)
{
    open_signals();
    for (unsigned round = 1; round <= 3; round++) {
        ck_assert_int_eq(kill(getpid(), SIGTERM), 0);
        ck_assert_int_eq(kill(getpid(), SIGHUP), 0);
        wait_for(SIGTERM, round);
        wait_for(SIGHUP, round);
        ck_assert_int_eq(raise(SIGINT), 0);
        ck_assert_int_eq(raise(SIGUSR1), 0);
        wait_for(SIGINT, round);
        wait_for(SIGUSR1, round);
    }
    signals_close(&signals);
    signals_close(&signals);
    run_until_gone();
}

END_TEST

/* SIGPIPE does nothing. */
START_TEST(signals_ignore_broken_pipes)
{
    int fds[2];

    open_signals();
    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(write(fds[1], "x", 1), -1);
    ck_assert_int_eq(close(fds[1]), 0);
    signals_close(&signals);
    run_until_gone();
}

END_TEST

/* A file over the limit is an error of the write. */
START_TEST(signals_ignore_file_size)
{
    const struct rlimit limit = {1, 1};
    FILE *file = tmpfile();

    open_signals();
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(pwrite(fileno(file), "x", 1, 10), -1);
    ck_assert_int_eq(errno, EFBIG);
    ck_assert_int_eq(fclose(file), 0);
    signals_close(&signals);
    run_until_gone();
}

END_TEST

/* Closed from inside the callback, it tells nothing more. */
START_TEST(signals_close_when_caught)
{
    open_signals();
    close_when_caught = true;
    ck_assert_int_eq(kill(getpid(), SIGTERM), 0);
    ck_assert_int_eq(kill(getpid(), SIGHUP), 0);
    run_until_gone();
    close_when_caught = false;
    ck_assert_uint_eq(caught[SIGTERM] + caught[SIGHUP], 1);
}

END_TEST

UNIT_MAIN("signals", signals_are_told, signals_ignore_broken_pipes, signals_ignore_file_size,
          signals_close_when_caught)
