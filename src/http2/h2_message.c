#include "http2/h2_message.h"

/*
 * Which characters may stand where is nghttp2's reading of the RFCs: in a regular field everything
 * but control characters (blanks around a value, too: they must not fail a call, P9), in a
 * pseudo-header what its grammar allows.
 *
 * Texts are looked at here; h2_message_add() has only marks to compare, so that what a field means
 * can be remembered.
 */

#define IN_NAME      (1U << 0)
#define IN_METHOD    (1U << 1)
#define IN_PATH      (1U << 2)
#define IN_AUTHORITY (1U << 3)
#define IN_SCHEME    (1U << 4)

#define FIRST_PRINTABLE ' '
#define DELETE          0x7f

/* The places a printable character may have. */
#define O 0
#define D (T | IN_AUTHORITY | IN_SCHEME)
#define C (IN_METHOD | IN_PATH | IN_AUTHORITY | IN_SCHEME)
#define T (IN_NAME | IN_METHOD | IN_PATH)
#define U (T | IN_AUTHORITY)
#define W (T | IN_AUTHORITY | IN_SCHEME)
#define M (IN_PATH)
#define N (IN_PATH | IN_AUTHORITY)

static const uint8_t places[DELETE - FIRST_PRINTABLE] = {
    O, U, M, T, U, U, U, U, N, N, U, W, N, W, W, M, /*  !"#$%&'()*+,-./ */
    D, D, D, D, D, D, D, D, D, D, N, N, M, N, M, M, /* 0123456789:;<=>? */
    N, C, C, C, C, C, C, C, C, C, C, C, C, C, C, C, /* @ABCDEFGHIJKLMNO */
    C, C, C, C, C, C, C, C, C, C, C, N, M, N, T, U, /* PQRSTUVWXYZ[\]^_ */
    T, D, D, D, D, D, D, D, D, D, D, D, D, D, D, D, /* `abcdefghijklmno */
    D, D, D, D, D, D, D, D, D, D, D, M, T, M, U,    /* pqrstuvwxyz{|}~ */
};

#undef O
#undef D
#undef C
#undef T
#undef U
#undef W
#undef M
#undef N

static unsigned places_of(uint8_t byte)
{
    if (byte > DELETE) {
        return IN_PATH;
    }
    return byte >= FIRST_PRINTABLE && byte < DELETE ? places[byte - FIRST_PRINTABLE] : 0;
}

static bool is_all(struct bytes text, unsigned place)
{
    size_t i;

    for (i = 0; i < text.size; i++) {
        if ((places_of(text.data[i]) & place) == 0) {
            return false;
        }
    }
    return true;
}

/* A pseudo-header's has something behind its colon. */
static bool is_name(struct bytes name)
{
    if (name.size > 1 && name.data[0] == ':') {
        name = (struct bytes){name.data + 1, name.size - 1};
    }
    return name.size > 0 && is_all(name, IN_NAME);
}

/* Eight bytes at once: has one of them less than 0x20, or 0x7f? */
static bool has_control(uint64_t word)
{
    const uint64_t ones = UINT64_MAX / UINT8_MAX;
    uint64_t deleted = word ^ ones * DELETE;
    uint64_t is_low = (word - ones * FIRST_PRINTABLE) & ~word;
    uint64_t is_deleted = (deleted - ones) & ~deleted;

    return ((is_low | is_deleted) & ones << 7) != 0;
}

static bool is_value_byte(uint8_t byte)
{
    return (byte >= FIRST_PRINTABLE && byte != DELETE) || byte == '\t';
}

static bool is_value(struct bytes value)
{
    size_t i = 0;

    while (i < value.size) {
        uint64_t word;

        if (value.size - i >= sizeof(word)) {
            memcpy(&word, value.data + i, sizeof(word));
            if (!has_control(word)) {
                i += sizeof(word);
                continue;
            }
        }
        if (!is_value_byte(value.data[i])) {
            return false;
        }
        i++;
    }
    return true;
}

static bool is_letter(uint8_t byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

static bool is_scheme(struct bytes value)
{
    return value.size > 0 && is_letter(value.data[0]) && is_all(value, IN_SCHEME);
}

static bool equals_folded(struct bytes text, struct bytes lower)
{
    size_t i;

    if (text.size != lower.size) {
        return false;
    }
    for (i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];

        if ((byte >= 'A' && byte <= 'Z' ? byte - 'A' + 'a' : byte) != lower.data[i]) {
            return false;
        }
    }
    return true;
}

/* Digits alone; -1 when there is anything else, or too many of them. */
static int64_t parse_number(struct bytes text)
{
    int64_t number = 0;
    size_t i;

    for (i = 0; i < text.size; i++) {
        int digit = text.data[i] - '0';

        if (digit < 0 || digit > 9 || number > (INT64_MAX - digit) / 10) {
            return -1;
        }
        number = number * 10 + digit;
    }
    return text.size > 0 ? number : -1;
}

#define IS(text_, literal_) bytes_equal((text_), BYTES_LITERAL(literal_))

/* Every function below fills in what its field means; a field is kept unless it says otherwise. */

static void refuse(struct h2_meaning *meaning)
{
    meaning->is_refused = true;
}

static void refuse_unless(struct h2_meaning *meaning, bool is_good)
{
    if (!is_good) {
        refuse(meaning);
    }
}

static void mean_method(struct h2_meaning *meaning, struct bytes value)
{
    meaning->shows = H2_MARK_METHOD;
    if (IS(value, "CONNECT")) {
        meaning->shows |= H2_MARK_CONNECT;
    } else if (IS(value, "OPTIONS")) {
        meaning->shows |= H2_MARK_OPTIONS;
    }
    refuse_unless(meaning, value.size > 0 && is_all(value, IN_METHOD));
}

static void mean_path(struct h2_meaning *meaning, struct bytes value)
{
    meaning->shows = H2_MARK_PATH;
    if (value.size > 0 && value.data[0] == '/') {
        meaning->shows |= H2_MARK_PATH_SLASH;
    } else if (IS(value, "*")) {
        meaning->shows |= H2_MARK_PATH_ASTERISK;
    }
    refuse_unless(meaning, value.size > 0 && is_all(value, IN_PATH));
}

static void mean_scheme(struct h2_meaning *meaning, struct bytes value)
{
    meaning->shows = H2_MARK_SCHEME;
    if (equals_folded(value, BYTES_LITERAL("http")) ||
        equals_folded(value, BYTES_LITERAL("https"))) {
        meaning->shows |= H2_MARK_SCHEME_HTTP;
    }
    refuse_unless(meaning, is_scheme(value));
}

static void mean_status(struct h2_meaning *meaning, struct bytes value)
{
    meaning->shows = H2_MARK_STATUS;
    meaning->number = parse_number(value);
    /* 101 is no answer of HTTP/2. */
    refuse_unless(meaning, value.size == 3 && meaning->number >= 0 && meaning->number != 101);
}

static void mean_pseudo(struct h2_meaning *meaning, bool is_answer, struct bytes name,
                        struct bytes value)
{
    if (is_answer) {
        if (IS(name, ":status")) {
            mean_status(meaning, value);
        } else {
            refuse(meaning);
        }
    } else if (IS(name, ":path")) {
        mean_path(meaning, value);
    } else if (IS(name, ":method")) {
        mean_method(meaning, value);
    } else if (IS(name, ":scheme")) {
        mean_scheme(meaning, value);
    } else if (IS(name, ":authority")) {
        meaning->shows = H2_MARK_AUTHORITY;
        refuse_unless(meaning, value.size > 0 && is_all(value, IN_AUTHORITY));
    } else {
        refuse(meaning);
    }
}

static bool is_of_connection(struct bytes name)
{
    return IS(name, "connection") || IS(name, "keep-alive") || IS(name, "proxy-connection") ||
           IS(name, "transfer-encoding") || IS(name, "upgrade");
}

static void mean_regular(struct h2_meaning *meaning, bool is_answer, struct bytes name,
                         struct bytes value)
{
    bool is_host = !is_answer && IS(name, "host");

    meaning->shows = H2_MARK_REGULAR;
    if (!is_name(name) || !is_value(value)) {
        refuse(meaning);
    } else if (is_host) {
        meaning->shows |= H2_MARK_HOST;
        refuse_unless(meaning, value.size > 0 && is_all(value, IN_AUTHORITY));
    } else if (IS(name, "content-length")) {
        meaning->shows |= H2_MARK_LENGTH;
        meaning->number = parse_number(value);
        refuse_unless(meaning, meaning->number >= 0);
    } else if (IS(name, "te")) {
        refuse_unless(meaning, equals_folded(value, BYTES_LITERAL("trailers")));
    } else if (!is_answer && IS(name, "priority")) {
        meaning->shows |= H2_MARK_PRIORITY;
    } else {
        refuse_unless(meaning, !is_of_connection(name));
    }
}

struct h2_meaning h2_field_meaning(bool is_answer, struct bytes name, struct bytes value)
{
    struct h2_meaning meaning = {0};

    if (name.size > 0 && name.data[0] == ':') {
        mean_pseudo(&meaning, is_answer, name, value);
    } else {
        mean_regular(&meaning, is_answer, name, value);
    }
    return meaning;
}

void h2_message_init(struct h2_message *message, bool is_answer)
{
    *message = (struct h2_message){.length = -1, .is_answer = is_answer};
}

static enum h2_verdict add_length(struct h2_message *message, int64_t length)
{
    if (message->is_answer && message->status / 100 == 1) {
        return H2_VERDICT_REFUSE;
    }
    if (message->is_answer && message->status == 204) {
        /* It may not be there, but some send it, and nothing is what it says. */
        message->length = 0;
        return length == 0 ? H2_VERDICT_DROP : H2_VERDICT_REFUSE;
    }
    message->length = length;
    return H2_VERDICT_KEEP;
}

enum h2_verdict h2_message_add(struct h2_message *message, const struct h2_meaning *meaning)
{
    bool is_pseudo = (meaning->shows & H2_MARK_REGULAR) == 0;

    if (meaning->is_refused ||
        (is_pseudo && (message->has_head || (message->seen & H2_MARK_REGULAR) != 0)) ||
        (message->seen & meaning->shows & H2_MARK_ONCE) != 0) {
        return H2_VERDICT_REFUSE;
    }
    message->seen |= meaning->shows;
    if ((meaning->shows & H2_MARK_STATUS) != 0) {
        message->status = (uint16_t)meaning->number;
    } else if ((meaning->shows & H2_MARK_LENGTH) != 0) {
        return add_length(message, meaning->number);
    }
    return H2_VERDICT_KEEP;
}

static bool end_request_head(struct h2_message *message)
{
    const unsigned needed = H2_MARK_METHOD | H2_MARK_SCHEME | H2_MARK_PATH;
    const unsigned seen = message->seen;

    if ((seen & H2_MARK_CONNECT) != 0) {
        message->length = -1; /* what it opens is a tunnel */
        return (seen & (H2_MARK_SCHEME | H2_MARK_PATH)) == 0 && (seen & H2_MARK_AUTHORITY) != 0;
    }
    if ((seen & needed) != needed || (seen & (H2_MARK_AUTHORITY | H2_MARK_HOST)) == 0) {
        return false;
    }
    return (seen & H2_MARK_SCHEME_HTTP) == 0 || (seen & H2_MARK_PATH_SLASH) != 0 ||
           ((seen & H2_MARK_OPTIONS) != 0 && (seen & H2_MARK_PATH_ASTERISK) != 0);
}

static bool end_answer_head(struct h2_message *message)
{
    if ((message->seen & H2_MARK_STATUS) == 0) {
        return false;
    }
    if (message->status / 100 == 1) {
        message->seen = H2_MARK_INTERIM;
        message->length = -1;
        message->status = 0;
        message->has_head = false;
        return true;
    }
    message->seen &= (uint16_t)~H2_MARK_INTERIM;
    if (message->status == 204 || message->status == 304) {
        message->length = 0;
        message->seen |= H2_MARK_LENGTH;
    }
    return true;
}

bool h2_message_end_block(struct h2_message *message, bool ended)
{
    bool is_good;

    if (message->has_head) {
        is_good = ended;
    } else {
        message->has_head = true;
        is_good = message->is_answer ? end_answer_head(message) : end_request_head(message);
    }
    return is_good && (!ended || h2_message_end_body(message));
}

bool h2_message_add_body(struct h2_message *message, size_t size)
{
    message->received += (int64_t)size;
    return (message->seen & H2_MARK_INTERIM) == 0 &&
           (message->length < 0 || message->received <= message->length);
}

bool h2_message_end_body(const struct h2_message *message)
{
    return (message->seen & H2_MARK_INTERIM) == 0 &&
           (message->length < 0 || message->received == message->length);
}

static bool is_key_byte(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '_' ||
           byte == '-' || byte == '.' || byte == '*';
}

/* Takes the member in front of the next comma, without the blanks around it. No value that matters
 * here has a comma in it. */
static struct bytes take_member(struct bytes *list)
{
    const uint8_t *comma = memchr(list->data, ',', list->size);
    struct bytes member = {list->data, comma == NULL ? list->size : (size_t)(comma - list->data)};

    if (comma == NULL) {
        *list = (struct bytes){0};
    } else {
        *list = (struct bytes){comma + 1, list->size - member.size - 1};
    }
    while (member.size > 0 && (member.data[0] == ' ' || member.data[0] == '\t')) {
        member = (struct bytes){member.data + 1, member.size - 1};
    }
    while (member.size > 0 &&
           (member.data[member.size - 1] == ' ' || member.data[member.size - 1] == '\t')) {
        member.size--;
    }
    return member;
}

/* One "key", "key=value", "key=value;parameter". Keys that are not ours are skipped. */
static bool add_member(struct bytes member, struct h2_priority *priority)
{
    const uint8_t *parameter = member.size > 0 ? memchr(member.data, ';', member.size) : NULL;
    size_t key_size = 0;
    struct bytes value = BYTES_LITERAL("?1");
    struct bytes key;

    if (parameter != NULL) {
        member.size = (size_t)(parameter - member.data);
    }
    while (key_size < member.size && is_key_byte(member.data[key_size])) {
        key_size++;
    }
    key = (struct bytes){member.data, key_size};
    if (key_size == 0 || (key_size < member.size && member.data[key_size] != '=')) {
        return false;
    }
    if (key_size < member.size) {
        value = (struct bytes){member.data + key_size + 1, member.size - key_size - 1};
    }
    if (IS(key, "u")) {
        int64_t urgency = parse_number(value);

        priority->urgency = (uint8_t)urgency;
        return urgency >= 0 && urgency <= 7;
    }
    if (IS(key, "i")) {
        priority->incremental = IS(value, "?1");
        return priority->incremental || IS(value, "?0");
    }
    return value.size > 0;
}

bool h2_priority_parse(struct bytes value, struct h2_priority *priority)
{
    while (value.size > 0) {
        if (!add_member(take_member(&value), priority)) {
            return false;
        }
    }
    return true;
}
