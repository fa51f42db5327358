#include "channel_fixture.h"

#include <sys/mman.h>

/* How much may be sent. */

#define GIGANTIC ((1ULL << 32) + 5) /* its size in a frame would be 5 */

static void begin_with_limits(uint32_t of_options, const char *of_method)
{
    char json[128];

    begin_reactor();
    begin_places(1, NULL);
    options.max_request = of_options;
    if (of_method != NULL) {
        (void)snprintf(json, sizeof(json),
                       "{\"methodConfig\":[{\"name\":[{}],\"maxRequestMessageBytes\":%s}]}",
                       of_method);
        use_config(json);
    }
    begin_channel_to_places();
}

static void expect_refusal(const struct trial *trial, const char *text)
{
    expect(trial, GRPC_STATUS_RESOURCE_EXHAUSTED, CALL_CAUSE_CALLER);
    ck_assert_str_eq(trial->message, text);
}

/* The smaller limit counts, and the text names it. */
START_TEST(limits_of_what_is_sent)
{
    static const struct {
        uint32_t of_options;
        const char *of_method;
        const char *problem;
    } cases[] = {
        {10, NULL, "the message has 11 bytes, and max_request allows 10"},
        {10, "100", "the message has 11 bytes, and max_request allows 10"},
        {100, "10",
         "the message has 11 bytes, and maxRequestMessageBytes of the service config allows 10"},
        {0, "10",
         "the message has 11 bytes, and maxRequestMessageBytes of the service config allows 10"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        begin_with_limits(cases[i].of_options, cases[i].of_method);
        expect(start(0, "/echo", "ten bytes!"), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
        expect_refusal(start(1, "/echo", "eleven byte"), cases[i].problem);
        ck_assert_uint_eq(trials[1].call.attempts, 0);
        ck_assert_uint_eq(places[0].seen, 1);
        ck_assert_uint_eq(backend(0).failures, 0);
        expect(start(2, "/echo", "ten bytes!"), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
        end();
    }
}

END_TEST

static void ignore_message(struct channel_call *call, struct bytes message)
{
    (void)call;
    (void)message;
}

/* On a stream it ends the call, before a connection is there and after. */
START_TEST(limits_of_what_a_stream_sends)
{
    for (int is_open = 0; is_open < 2; is_open++) {
        struct trial *trial;

        begin_with_limits(10, NULL);
        trial = make(0, "/stream");
        trial->call.message = ignore_message;
        ck_assert_int_eq(channel_open(channel, &trial->call), 0);
        if (is_open) {
            UNTIL(is_in_state(0, SUBCHANNEL_READY));
            turn_quietly();
        }
        ck_assert_int_eq(channel_send(&trial->call, BYTES_LITERAL("ten bytes!")), 0);
        ck_assert_int_eq(channel_send(&trial->call, BYTES_LITERAL("eleven byte")), CHANNEL_E_OVER);
        expect_refusal(trial, "the message has 11 bytes, and max_request allows 10");
        end();
    }
}

END_TEST

/* Without a limit of its own a frame has one, and what is beyond is not even copied: there would be
 * no room. */
START_TEST(limits_of_what_a_frame_can_say)
{
    void *memory =
        mmap(NULL, GIGANTIC, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    const struct bytes gigantic = {memory, GIGANTIC};
    struct trial *trial;

    ck_assert_ptr_ne(memory, MAP_FAILED);
    begin_with_limits(0, NULL);
    trial = make(0, "/echo");
    ck_assert_int_eq(channel_start(channel, &trial->call, gigantic), 0);
    expect_refusal(trial, "the message has 4294967301 bytes, and max_request allows 4294967295");
    trial = make(1, "/stream");
    trial->call.message = ignore_message;
    ck_assert_int_eq(channel_open(channel, &trial->call), 0);
    ck_assert_int_eq(channel_send(&trial->call, gigantic), CHANNEL_E_OVER);
    expect(trial, GRPC_STATUS_RESOURCE_EXHAUSTED, CALL_CAUSE_CALLER);
    end();
    ck_assert_int_eq(munmap(memory, GIGANTIC), 0);
}

END_TEST

UNIT_MAIN("channel_limits", limits_of_what_is_sent, limits_of_what_a_stream_sends,
          limits_of_what_a_frame_can_say)
