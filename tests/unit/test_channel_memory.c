/*
 * Memory that runs out in each place of a call, and channels that come and go by the thousand. The
 * servers live in the same process, so memory runs out only inside the calls to the channel.
 */
#include "allocation_faults.h"
#include "channel_fixture.h"

#include <errno.h>

#define ROUNDS 1000

/* The n-th allocation of channel_start() fails, for each n that there is; cold and warm. */
static void start_without_memory(unsigned index)
{
    bool failed = true;

    for (unsigned n = 1; failed; n++) {
        struct trial *trial = make(index, "/echo");
        int ret;

        trial->call.token = "a token";
        trial->call.timeout_ns = 60 * CLOCK_NS_PER_S;
        allocation_faults_arm(n);
        ret = channel_start(channel, &trial->call, BYTES_LITERAL("hello"));
        failed = allocation_faults_disarm();
        ck_assert(ret == 0 || (failed && ret == -ENOMEM));
        if (ret != 0) {
            continue;
        }
        wait_for(trial);
        if (trial->status != GRPC_STATUS_OK) {
            ck_assert(failed);
            ck_assert_int_eq(trial->cause, CALL_CAUSE_MEMORY);
        }
    }
}

START_TEST(memory_runs_out_in_calls)
{
    begin(1);
    start_without_memory(0);
    start_without_memory(1);
    expect_echo(2);
    end();
}

END_TEST

/* channel_new() and channel_connect(). */
START_TEST(memory_runs_out_at_the_beginning)
{
    bool failed = true;
    char text[64];
    char problem[TARGET_PROBLEM_SIZE];

    begin_reactor();
    begin_places(1, NULL);
    name_places(text, sizeof(text), 1);
    ck_assert_int_eq(target_parse(text, problem, &target), 0);
    options.target = &target;
    options.user_agent = "me";
    for (unsigned n = 1; failed; n++) {
        int ret;

        allocation_faults_arm(n);
        ret = channel_new(&reactor, &options, on_closed, NULL, &channel);
        if (ret == 0) {
            channel_connect(channel);
        }
        failed = allocation_faults_disarm();
        ck_assert(ret == 0 || failed);
        if (ret == 0) {
            expect_echo(0);
            closed_count = 0;
            close_channel();
        }
    }
    channel = NULL;
    end();
}

END_TEST

/* Connect, call, cancel, disconnect, in every mixture; nothing is left (AddressSanitizer looks). */
START_TEST(memory_is_given_back)
{
    begin_reactor();
    begin_places(2, NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        options.has_policy = true;
        options.policy = i % 3 == 0 ? BALANCER_PICK_FIRST : BALANCER_ROUND_ROBIN;
        begin_channel_to_places();
        closed_count = 0;
        (void)start(0, "/echo", "x");
        (void)start(1, "/silent", "x");
        (void)start(2, "/echo", "x");
        if (i % 2 == 0) {
            wait_for(&trials[0]);
        }
        for (unsigned k = 0; k < i % 7; k++) {
            ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
        }
        channel_cancel(&trials[i % 3].call);
        if (i % 4 == 0) {
            channel_abort(channel);
        }
        close_channel();
        ck_assert(trials[0].is_done && trials[1].is_done && trials[2].is_done);
    }
    channel = NULL;
    end();
}

END_TEST

UNIT_MAIN("channel_memory", memory_runs_out_in_calls, memory_runs_out_at_the_beginning,
          memory_is_given_back)
