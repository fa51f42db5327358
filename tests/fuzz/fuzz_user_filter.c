/*
 * Any text as a filter, any bytes as the user: up to the first NUL the input is the filter, the
 * rest is the message. A filter is parsed, or refused with a place inside it; it ends on every
 * message; its negation says the opposite; and all it matches have the value of its unique key.
 *
 * Thread: one.
 */
#include "http2/proto_wire.h"
#include "service/user_filter.h"
#include "service/user_fold.h"
#include "service/user_record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct subject {
    struct user_filter_subject subject;
    struct user user;
    uint8_t username[USER_FOLDED_BYTES_MAX];
    uint8_t email[USER_FOLDED_BYTES_MAX];
};

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

static bool parse(struct bytes text, struct arena *arena, const struct user_filter **ret_filter)
{
    struct user_filter_problem problem;
    int result = user_filter_parse(text, arena, ret_filter, &problem);

    must(result == 0 || result == USER_FILTER_E_INVALID);
    if (result == USER_FILTER_E_INVALID) {
        must(problem.position <= text.size);
        must(memchr(problem.text, '\0', sizeof(problem.text)) != NULL);
        must(strlen(problem.text) > 0);
        must(proto_wire_is_utf8(bytes_from_text(problem.text)));
    }
    return result == 0;
}

/* False when the message is none of a user, or its names do not fold. */
static bool read_subject(struct bytes message, struct subject *subject)
{
    struct user_filter_subject *names = &subject->subject;

    names->message = message;
    names->username = (struct bytes){subject->username, 0};
    names->email = (struct bytes){subject->email, 0};
    return user_record_read_user(message, &subject->user) == 0 &&
           user_fold(subject->user.username, subject->username, &names->username.size) == 0 &&
           user_fold(subject->user.email, subject->email, &names->email.size) == 0;
}

static void check_key(const struct user_filter *filter, const struct subject *subject)
{
    struct bytes value;

    switch (user_filter_unique_key(filter, &value)) {
    case USER_FILTER_KEY_NONE:
        break;
    case USER_FILTER_KEY_ID:
        must(bytes_equal(subject->user.id, value));
        break;
    case USER_FILTER_KEY_USERNAME:
        must(bytes_equal(subject->subject.username, value));
        break;
    case USER_FILTER_KEY_EMAIL:
        must(bytes_equal(subject->subject.email, value));
        break;
    }
}

static void check_negation(struct bytes text, bool matches, const struct subject *subject)
{
    struct arena arena = {0};
    const struct user_filter *filter;
    struct bytes negated;
    uint8_t room[TEXT_MAX + 6];

    memcpy(room, "NOT (", 5);
    memcpy(room + 5, text.data, text.size);
    room[5 + text.size] = ')';
    negated = (struct bytes){room, text.size + 6};
    /* It may be refused: it is deeper. */
    if (parse(negated, &arena, &filter)) {
        must(user_filter_matches(filter, &subject->subject) != matches);
    }
    arena_deinit(&arena);
}

/* A user has the numbers that user_record_read_user() reads, and as many roles. */
static void check_reading(const struct subject *subject)
{
    const struct user *user = &subject->user;
    struct arena arena = {0};
    const struct user_filter *filter;
    char text[128];
    int size = snprintf(text, sizeof(text), "created_at=%" PRId64 " updated_at=%" PRId64 " %s%s%s",
                        user->created_at, user->updated_at, user->role_count > 0 ? "" : "-",
                        "roles:* ", user->status == USER_STATUS_ACTIVE ? "status=ACTIVE" : "");

    must(size > 0 && (size_t)size < sizeof(text));
    must(parse(bytes_from_text(text), &arena, &filter));
    must(user_filter_matches(filter, &subject->subject));
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct subject subject;
    size_t text_size = strnlen((const char *)data, size);
    struct bytes text = {data, text_size};
    struct bytes message = {data + text_size, size - text_size};
    struct arena arena = {0};
    const struct user_filter *filter;

    if (message.size > 0) {
        message = (struct bytes){message.data + 1, message.size - 1};
    }
    if (text.size == 0 || text.size > TEXT_MAX || !proto_wire_is_utf8(text)) {
        return 0;
    }
    if (parse(text, &arena, &filter)) {
        bool is_user = read_subject(message, &subject);
        bool matches = user_filter_matches(filter, &subject.subject);

        if (is_user && matches) {
            check_key(filter, &subject);
        }
        if (is_user) {
            check_reading(&subject);
        }
        check_negation(text, matches, &subject);
    }
    arena_deinit(&arena);
    return 0;
}
