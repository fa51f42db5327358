#include "lib/h2_peer.h"
#include "lib/unit.h"

#include "http2/h2_message.h"
#include "http2/h2_session.h"

#include <stdio.h>

/* Our checks of messages against those of nghttp2: two sessions, one with each, are given the same
 * frames, and must hand on the same fields and end the stream in the same way. */

#define FIELDS_MAX 40

/* What the owner of a session saw, as text. */
struct seen {
    struct h2_session *session;
    struct h2_stream *stream;
    char text[4096];
};

static struct seen sides[2]; /* ours, the engine's */

static void note(struct seen *seen, const char *text, size_t size)
{
    size_t used = strlen(seen->text);
    size_t i;

    for (i = 0; i < size && used + 5 < sizeof(seen->text); i++) {
        unsigned char byte = (unsigned char)text[i];

        used += (size_t)snprintf(seen->text + used, sizeof(seen->text) - used,
                                 byte > ' ' && byte < 0x7f ? "%c" : "\\%02x", byte);
    }
}

static void note_text(struct seen *seen, const char *text)
{
    note(seen, text, strlen(text));
}

static void *on_opened(void *owner, struct h2_stream *stream)
{
    struct seen *seen = owner;

    seen->stream = stream;
    note_text(seen, "open;");
    return seen;
}

static void on_field(void *context, const struct h2_field *field)
{
    note(context, (const char *)field->name.data, field->name.size);
    note_text(context, "=");
    note(context, (const char *)field->value.data, field->value.size);
    note_text(context, ";");
}

static void on_fields_complete(void *context, bool trailers, bool ended)
{
    note_text(context, trailers ? "trailers" : "head");
    note_text(context, ended ? ",ended;" : ";");
}

static void on_data(void *context, struct bytes bytes)
{
    note(context, (const char *)bytes.data, bytes.size);
    note_text(context, ";");
}

static void on_ended(void *context)
{
    note_text(context, "ended;");
}

static void on_closed(void *context, uint32_t error)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "closed(%u);", (unsigned)error);
    note_text(context, text);
    ((struct seen *)context)->stream = NULL;
}

static const struct h2_events events = {
    .stream_opened = on_opened,
    .field = on_field,
    .fields_complete = on_fields_complete,
    .data = on_data,
    .ended = on_ended,
    .closed = on_closed,
};

/* What a session sends after it was fed: which frames, and their errors. */
static void note_frames(struct seen *seen, struct bytes frames)
{
    struct h2_frame frame;

    while (h2_frame_take(&frames, &frame)) {
        char text[64];
        bool has_error = frame.type == H2_FRAME_RST_STREAM || frame.type == H2_FRAME_GOAWAY;

        if (frame.type == H2_FRAME_SETTINGS) {
            continue;
        }
        (void)snprintf(text, sizeof(text), "<%u,%u", frame.type, (unsigned)frame.stream_id);
        note_text(seen, text);
        if (has_error) {
            (void)snprintf(
                text, sizeof(text), ",%u",
                (unsigned)h2_frame_number(&frame, frame.type == H2_FRAME_GOAWAY ? 4 : 0));
            note_text(seen, text);
        }
        note_text(seen, ">");
    }
}

static void begin(enum h2_role role)
{
    static const struct h2_field request[] = {
        {.name = {(const uint8_t *)":method", 7}, .value = {(const uint8_t *)"POST", 4}},
        {.name = {(const uint8_t *)":scheme", 7}, .value = {(const uint8_t *)"http", 4}},
        {.name = {(const uint8_t *)":path", 5}, .value = {(const uint8_t *)"/a/b", 4}},
        {.name = {(const uint8_t *)":authority", 10}, .value = {(const uint8_t *)"test", 4}},
    };
    unsigned i;

    for (i = 0; i < 2; i++) {
        const struct h2_options options = {.checks = i == 0 ? H2_CHECKS_OWN : H2_CHECKS_ENGINE};
        struct seen *seen = &sides[i];
        struct buf out = {0};

        *seen = (struct seen){0};
        ck_assert_int_eq(h2_session_new(role, &options, &events, seen, 1, &seen->session), 0);
        if (role == H2_ROLE_CLIENT) {
            ck_assert_int_eq(h2_session_request(seen->session, request, 4, seen, &seen->stream), 0);
            ck_assert_int_eq(h2_stream_end(seen->stream, NULL, 0), 0);
        }
        ck_assert_int_eq(h2_session_drain(seen->session, &out, SIZE_MAX), 0);
        buf_deinit(&out);
    }
}

static void feed(struct bytes bytes)
{
    unsigned i;

    for (i = 0; i < 2; i++) {
        struct buf out = {0};

        note_text(&sides[i], h2_session_feed(sides[i].session, bytes, 1, &out) == 0 ? "|" : "!");
        note_frames(&sides[i], buf_bytes(&out));
        buf_deinit(&out);
    }
}

static void end(void)
{
    unsigned i;

    for (i = 0; i < 2; i++) {
        h2_session_free(sides[i].session);
    }
}

/* Appends what a row says: fields of the head, "!" for DATA, "$" for the next HEADERS. The last
 * frame ends the stream. */
static void append_row(struct buf *in, const char *const *row)
{
    bool in_block = true;
    struct buf block = {0};

    for (;;) {
        bool is_last = row[0] == NULL;
        bool is_field = !is_last && strcmp(row[0], "!") != 0 && strcmp(row[0], "$") != 0;

        if (is_field) {
            h2_frame_append_fields(&block, (const char *const[]){row[0], row[1], NULL});
        } else if (in_block) {
            h2_frame_append(in, H2_FRAME_HEADERS,
                            H2_FLAG_END_HEADERS | (is_last ? H2_FLAG_END_STREAM : 0), 1, block.data,
                            buf_size(&block));
            buf_clear(&block);
            in_block = false;
        }
        if (is_last) {
            buf_deinit(&block);
            return;
        }
        if (strcmp(row[0], "!") == 0) {
            h2_frame_append(in, H2_FRAME_DATA, row[2] == NULL ? H2_FLAG_END_STREAM : 0, 1, row[1],
                            strlen(row[1]));
        } else if (strcmp(row[0], "$") == 0) {
            in_block = true;
        }
        row += 2;
    }
}

static void append_beginning(struct buf *in, enum h2_role role)
{
    if (role == H2_ROLE_SERVER) {
        h2_frame_append_preface(in);
    } else {
        h2_frame_append(in, H2_FRAME_SETTINGS, 0, 0, NULL, 0);
    }
}

static void check_same(const char *what)
{
    ck_assert_msg(strcmp(sides[0].text, sides[1].text) == 0, "%s\nours:    %s\nnghttp2: %s", what,
                  sides[0].text, sides[1].text);
}

/* Every row of a table, each pairs of texts; all of them good, or none. */
static void check_rows(enum h2_role role, const char *const rows[][FIELDS_MAX], size_t count,
                       bool good)
{
    size_t i;

    for (i = 0; i < count; i++) {
        struct buf in = {0};
        char what[32];

        (void)snprintf(what, sizeof(what), "row %zu", i);
        begin(role);
        append_beginning(&in, role);
        append_row(&in, rows[i]);
        feed(buf_bytes(&in));
        buf_deinit(&in);
        check_same(what);
        ck_assert_msg((strstr(sides[0].text, "<3,1,1>") == NULL) == good, "row %zu: %s", i,
                      sides[0].text);
        end();
    }
}

#define ROWS(rows) (rows), sizeof(rows) / sizeof((rows)[0])

#define HEAD ":method", "POST", ":scheme", "http", ":path", "/s.S/M"
#define GOOD HEAD, ":authority", "test"

START_TEST(message_good_requests_pass)
{
    static const char *const rows[][FIELDS_MAX] = {
        {GOOD},
        {HEAD, "host", "test"},
        {GOOD, "host", "other"},
        {GOOD, "te", "trailers", "content-type", "application/grpc", "!", "12345"},
        {GOOD, "te", "TRAILERS"},
        {GOOD, "content-length", "5", "!", "123", "!", "45"},
        {GOOD, "content-length", "0"},
        {GOOD, "!", "1", "$", "", "x-trailer", "yes"},
        {GOOD, "!", "1", "$", "", "content-length", "1"},
        {":method", "OPTIONS", ":scheme", "https", ":path", "*", ":authority", "test"},
        {":method", "GET", ":scheme", "ftp", ":path", "anything", ":authority", "test"},
        {":method", "CONNECT", ":authority", "test:1"},
        {":method", "CONNECT", ":authority", "test:1", "content-length", "7", "!", "1"},
        {":authority", "a", ":path", "/\xc3\xbc?x=%20", ":scheme", "HTTP", ":method", "X-Y"},
        /* Blanks around values are no fault (P9). */
        {GOOD, "x-blank", " both sides\t", "x-only", " ", "x-empty", ""},
        {GOOD, "x-tab", "\t\t\t\t\t\t\t\t\t\t", "x-high", "\x80\xff eight bytes and more"},
        {GOOD, "priority", "u=1, i"},
        {GOOD, "priority", "u=9"},
        {GOOD, "cookie", "a=1", "cookie", "b=2"},
    };

    check_rows(H2_ROLE_SERVER, ROWS(rows), true);
}

END_TEST

START_TEST(message_bad_requests_are_refused)
{
    static const char *const rows[][FIELDS_MAX] = {
        {HEAD},
        {":scheme", "http", ":path", "/", ":authority", "a"},
        {":method", "POST", ":path", "/", ":authority", "a"},
        {":method", "POST", ":scheme", "http", ":authority", "a"},
        {GOOD, ":method", "POST"},
        {GOOD, ":path", "/"},
        {GOOD, ":scheme", "http"},
        {GOOD, ":authority", "b"},
        {HEAD, "host", "a", "host", "b"},
        {HEAD, "x", "1", ":authority", "a"},
        {HEAD, "x y", "1", ":authority", "a"},
        {GOOD, ":status", "200"},
        {GOOD, ":unknown", "1"},
        {GOOD, ":protocol", "websocket"},
        {GOOD, ":", "1"},
        {HEAD, ":authority", ""},
        {HEAD, ":authority", "a b"},
        {HEAD, "host", ""},
        {":method", "", ":scheme", "http", ":path", "/", ":authority", "a"},
        {":method", "P T", ":scheme", "http", ":path", "/", ":authority", "a"},
        {":method", "POST", ":scheme", "", ":path", "/", ":authority", "a"},
        {":method", "POST", ":scheme", "1http", ":path", "/", ":authority", "a"},
        {":method", "POST", ":scheme", "ht_tp", ":path", "/", ":authority", "a"},
        {":method", "POST", ":scheme", "http", ":path", "", ":authority", "a"},
        {":method", "POST", ":scheme", "http", ":path", "/a b", ":authority", "a"},
        {":method", "POST", ":scheme", "http", ":path", "a", ":authority", "a"},
        {":method", "POST", ":scheme", "https", ":path", "*", ":authority", "a"},
        {":method", "CONNECT"},
        {":method", "CONNECT", ":authority", "a", ":path", "/"},
        {":method", "CONNECT", ":authority", "a", ":scheme", "http"},
        {GOOD, "X-Capital", "1"},
        {GOOD, "x-(Capital)", "1"},
        {GOOD, "connection", "close"},
        {GOOD, "keep-alive", "1"},
        {GOOD, "proxy-connection", "1"},
        {GOOD, "transfer-encoding", "chunked"},
        {GOOD, "upgrade", "h2c"},
        {GOOD, "te", "gzip"},
        {GOOD, "te", "trailers "},
        {GOOD, "content-length", ""},
        {GOOD, "content-length", "-1"},
        {GOOD, "content-length", "1 "},
        {GOOD, "content-length", "9223372036854775808"},
        {GOOD, "content-length", "1", "content-length", "1", "!", "1"},
        {GOOD, "content-length", "1"},
        {GOOD, "content-length", "2", "!", "1"},
        {GOOD, "content-length", "2", "!", "12", "!", "3"},
        {GOOD, "content-length", "2", "!", "1", "$", "", "x", "1"},
        {GOOD, "content-length", "1", "!", "1", "$", "", "content-length", "1"},
        {GOOD, "!", "1", "$", "", "x", "1", "!", "2"},
        {GOOD, "!", "1", "$", "", ":path", "/"},
        {GOOD, "!", "1", "$", "", "connection", "close"},
        {GOOD, "x(y)", "1"},
        {GOOD, "x y", "1"},
        {GOOD, "x\xc3", "1"},
        {GOOD, "x:y", "1"},
        {GOOD, "x-control", "a\001b"},
        {GOOD, "x-control", "eight bytes at once, and then\n"},
        {GOOD, "x-control", "eight by\x1f"},
        {GOOD, "x-delete", "a\177b"},
        {GOOD, "x-delete", "eight by\177 and the rest"},
        {GOOD, "host", "a b"},
        {GOOD, "", "1"},
        {GOOD, "", ""},
    };

    check_rows(H2_ROLE_SERVER, ROWS(rows), false);
}

END_TEST

START_TEST(message_good_answers_pass)
{
    static const char *const rows[][FIELDS_MAX] = {
        {":status", "200", "content-type", "application/grpc", "!", "1", "$", "", "grpc-status",
         "0"},
        {":status", "200", "grpc-status", "5"},
        {":status", "103", "link", "a", "$", "", ":status", "100", "$", "", ":status", "200"},
        {":status", "204"},
        {":status", "204", "content-length", "0"},
        {":status", "304", "content-length", "0"},
        {":status", "200", "content-length", "1", "!", "1"},
        {":status", "999", "te", "trailers", "host", "a b", "priority", "u=1"},
        {":status", "200", "x", "\x80"},
    };

    check_rows(H2_ROLE_CLIENT, ROWS(rows), true);
}

END_TEST

START_TEST(message_bad_answers_are_refused)
{
    static const char *const rows[][FIELDS_MAX] = {
        {"grpc-status", "0"},
        {":status", "101"},
        {":status", "20"},
        {":status", "2000"},
        {":status", "2x0"},
        {":status", ""},
        {":status", "200", ":status", "200"},
        {":status", "200", ":path", "/"},
        {"x", "1", ":status", "200"},
        {":status", "100"},
        {":status", "100", "!", "1"},
        {":status", "100", "content-length", "0", "$", "", ":status", "200"},
        {":status", "100", "$", "", "x", "1"},
        {":status", "204", "content-length", "1"},
        {":status", "204", "!", "1"},
        {":status", "200", "content-length", "1"},
        {":status", "200", "content-length", "1", "!", "12"},
        {":status", "200", "connection", "close"},
        {":status", "200", "upgrade", "h2c"},
        {":status", "200", "te", "gzip"},
        {":status", "200", "X", "1"},
        {":status", "200", "x y", "1"},
        {":status", "200", "x", "\001"},
        {":status", "200", "!", "1", "$", "", "x", "1", "!", "2"},
        {":status", "200", "!", "1", "$", "", ":status", "200"},
    };

    check_rows(H2_ROLE_CLIENT, ROWS(rows), false);
}

END_TEST

/* The same sequence each time. */
static size_t chance(size_t count)
{
    static uint32_t state;

    state = state * 1664525 + 1013904223;
    return (state >> 16) % count;
}

/* Rows made by chance from texts that matter, some of them spoilt. */
START_TEST(message_random_requests_are_judged_the_same)
{
    static const char *const names[] = {
        ":method", ":scheme",  ":path",          ":authority", ":status", ":protocol",
        "host",    "te",       "content-length", "connection", "x-a",     "X-A",
        "",        "priority", "upgrade",        "cookie"};
    static const char *const values[] = {"POST",  "CONNECT", "OPTIONS", "http", "https", "/",
                                         "/a/b",  "*",       "test",    "1",    "2",     "trailers",
                                         "close", "",        " ",       "u=0",  "a\001", "\xff"};
    unsigned good = 0;
    unsigned i;

    for (i = 0; i < 5000; i++) {
        const char *row[FIELDS_MAX] = {GOOD};
        size_t size = 8 - 2 * (chance(8) == 0);
        size_t extra = chance(5);
        struct buf in = {0};
        char what[32];

        while (extra-- > 0) {
            size_t kind = chance(8);

            row[size++] = kind == 0 ? "!" : kind == 1 ? "$" : names[chance(16)];
            row[size++] = values[chance(18)];
        }
        if (chance(4) == 0) {
            size_t spoilt = 2 * chance(4) + 1;

            row[spoilt] = values[chance(18)];
        }
        (void)snprintf(what, sizeof(what), "round %u", i);
        begin(H2_ROLE_SERVER);
        append_beginning(&in, H2_ROLE_SERVER);
        append_row(&in, row);
        feed(buf_bytes(&in));
        buf_deinit(&in);
        check_same(what);
        good += strstr(sides[0].text, "<3,1,1>") == NULL;
        end();
    }
    ck_assert_uint_gt(good, 500);
    ck_assert_uint_lt(good, 4500);
}

END_TEST

/* A wish for the order of answers, which only the engine's streams know: what is read of it. */
START_TEST(message_priorities_are_read)
{
    static const struct {
        const char *value;
        bool good;
        unsigned urgency;
        bool incremental;
    } rows[] = {
        {"", true, 3, false},        {"u=0", true, 0, false},
        {"u=7, i", true, 7, true},   {"i=?1,u=2", true, 2, true},
        {"i=?0", true, 3, false},    {"u=5;x=1 , other=4, flag", true, 5, false},
        {"u=8", false, 0, false},    {"u=-1", false, 0, false},
        {"u", false, 0, false},      {"i=1", false, 0, false},
        {"u=1 i", false, 0, false},  {"U=1", false, 0, false},
        {"u=1,,i", false, 0, false}, {"other=", false, 0, false},
    };

    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct h2_priority priority = H2_PRIORITY_DEFAULT;

        ck_assert_int_eq(h2_priority_parse(bytes_from_text(rows[i].value), &priority),
                         rows[i].good);
        if (rows[i].good) {
            ck_assert_uint_eq(priority.urgency, rows[i].urgency);
            ck_assert_int_eq(priority.incremental, rows[i].incremental);
        }
    }
}

END_TEST

UNIT_MAIN("h2_message", message_random_requests_are_judged_the_same, message_priorities_are_read,
          message_good_requests_pass, message_bad_requests_are_refused, message_good_answers_pass,
          message_bad_answers_are_refused)
