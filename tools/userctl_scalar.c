#include "userctl_scalar.h"

#include "common_json.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REAL_SIZE 40

enum range {
    RANGE_INT32,
    RANGE_UINT32,
    RANGE_INT64,
    RANGE_UINT64,
};

static enum range range_of(enum userctl_type type)
{
    if (type == USERCTL_TYPE_INT32 || type == USERCTL_TYPE_SINT32 ||
        type == USERCTL_TYPE_SFIXED32) {
        return RANGE_INT32;
    }
    if (type == USERCTL_TYPE_UINT32 || type == USERCTL_TYPE_FIXED32) {
        return RANGE_UINT32;
    }
    return type == USERCTL_TYPE_UINT64 || type == USERCTL_TYPE_FIXED64 ? RANGE_UINT64 : RANGE_INT64;
}

enum proto_wire_type userctl_scalar_wire(enum userctl_type type)
{
    if (type == USERCTL_TYPE_DOUBLE || type == USERCTL_TYPE_FIXED64 ||
        type == USERCTL_TYPE_SFIXED64) {
        return PROTO_WIRE_FIXED64;
    }
    if (type == USERCTL_TYPE_FLOAT || type == USERCTL_TYPE_FIXED32 ||
        type == USERCTL_TYPE_SFIXED32) {
        return PROTO_WIRE_FIXED32;
    }
    if (type == USERCTL_TYPE_STRING || type == USERCTL_TYPE_BYTES || type == USERCTL_TYPE_MESSAGE) {
        return PROTO_WIRE_BYTES;
    }
    return PROTO_WIRE_VARINT;
}

/* "-12", and "1e3" or "4.0" when they are whole. Above INT64_MAX only where there is no sign. */
static bool parse_whole(const char *text, bool is_unsigned, uint64_t *ret_value)
{
    size_t size = strlen(text);
    char *end;
    double real;

    if (size == 0 || size > REAL_SIZE || strspn(text, "0123456789+-.eE") != size ||
        text[0] == '+') {
        return false;
    }
    errno = 0;
    if (text[0] == '-' || !is_unsigned) {
        *ret_value = (uint64_t)strtoll(text, &end, 10);
    } else {
        *ret_value = strtoull(text, &end, 10);
    }
    if (*end == '\0' && end != text) {
        return errno == 0;
    }
    real = strtod(text, &end);
    if (*end != '\0' ||
        !(real >= -COMMON_JSON_WHOLE_REAL_MAX && real <= COMMON_JSON_WHOLE_REAL_MAX) ||
        trunc(real) != real) {
        return false;
    }
    *ret_value = (uint64_t)(int64_t)real;
    return true;
}

static bool take_whole(struct userctl_scalar_input input, enum range range, uint64_t *ret_value)
{
    bool is_unsigned = range == RANGE_UINT32 || range == RANGE_UINT64;
    bool is_large = false; /* of 64 bits without a sign */
    int64_t value;

    if (input.kind == USERCTL_SCALAR_INTEGER) {
        *ret_value = (uint64_t)input.integer;
    } else if (input.kind == USERCTL_SCALAR_REAL && input.real >= -COMMON_JSON_WHOLE_REAL_MAX &&
               input.real <= COMMON_JSON_WHOLE_REAL_MAX && trunc(input.real) == input.real) {
        *ret_value = (uint64_t)(int64_t)input.real;
    } else if (input.kind == USERCTL_SCALAR_TEXT &&
               parse_whole(input.text, is_unsigned, ret_value)) {
        is_large = is_unsigned && input.text[0] != '-' && *ret_value > INT64_MAX;
    } else {
        return false;
    }
    value = (int64_t)*ret_value;
    switch (range) {
    case RANGE_INT32:
        return value >= INT32_MIN && value <= INT32_MAX;
    case RANGE_UINT32:
        return !is_large && value >= 0 && value <= UINT32_MAX;
    case RANGE_UINT64:
        return is_large || value >= 0;
    case RANGE_INT64:
        break;
    }
    return true;
}

static bool take_real(struct userctl_scalar_input input, double *ret_value)
{
    char *end;

    if (input.kind == USERCTL_SCALAR_INTEGER) {
        *ret_value = (double)input.integer;
        return true;
    }
    if (input.kind == USERCTL_SCALAR_REAL) {
        *ret_value = input.real;
        return true;
    }
    if (input.kind != USERCTL_SCALAR_TEXT) {
        return false;
    }
    if (strcmp(input.text, "NaN") == 0) {
        *ret_value = (double)NAN;
        return true;
    }
    if (strcmp(input.text, "Infinity") == 0 || strcmp(input.text, "-Infinity") == 0) {
        *ret_value = input.text[0] == '-' ? -(double)INFINITY : (double)INFINITY;
        return true;
    }
    if (input.text[0] == '\0' || strspn(input.text, "0123456789+-.eE") != strlen(input.text)) {
        return false;
    }
    *ret_value = strtod(input.text, &end);
    return *end == '\0' && isfinite(*ret_value);
}

static size_t put_fixed(uint64_t value, size_t size, uint8_t *out)
{
    for (size_t i = 0; i < size; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
    return size;
}

static size_t put_real(enum userctl_type type, double real, uint8_t *out)
{
    float narrow = (float)real;
    uint32_t bits32;
    uint64_t bits64;

    if (type == USERCTL_TYPE_DOUBLE) {
        memcpy(&bits64, &real, sizeof(bits64));
        return put_fixed(bits64, sizeof(bits64), out);
    }
    memcpy(&bits32, &narrow, sizeof(bits32));
    return put_fixed(bits32, sizeof(bits32), out);
}

/* Small numbers of either sign to small numbers without one. */
static uint64_t zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0);
}

static const char *expected_of(enum userctl_type type)
{
    static const char *const names[] = {
        [RANGE_INT32] = "a whole number of 32 bits",
        [RANGE_UINT32] = "a whole number from 0 to 4294967295",
        [RANGE_INT64] = "a whole number of 64 bits",
        [RANGE_UINT64] = "a whole number from 0 to 18446744073709551615",
    };

    return names[range_of(type)];
}

size_t userctl_scalar_put(enum userctl_type type, struct userctl_scalar_input input, uint8_t *out,
                          const char **ret_expected)
{
    enum proto_wire_type wire = userctl_scalar_wire(type);
    uint64_t value;
    double real;

    if (type == USERCTL_TYPE_DOUBLE || type == USERCTL_TYPE_FLOAT) {
        *ret_expected = type == USERCTL_TYPE_DOUBLE ? "a number" : "a number of a float's range";
        if (!take_real(input, &real) ||
            (type == USERCTL_TYPE_FLOAT && isfinite(real) && fabs(real) > (double)FLT_MAX)) {
            return 0;
        }
        return put_real(type, real, out);
    }
    if (type == USERCTL_TYPE_BOOL) {
        *ret_expected = "true or false";
        return input.kind == USERCTL_SCALAR_TRUTH ? put_fixed(input.truth, 1, out) : 0;
    }
    *ret_expected = expected_of(type);
    if (!take_whole(input, range_of(type), &value)) {
        return 0;
    }
    if (wire == PROTO_WIRE_FIXED64 || wire == PROTO_WIRE_FIXED32) {
        return put_fixed(value, wire == PROTO_WIRE_FIXED64 ? 8 : 4, out);
    }
    if (type == USERCTL_TYPE_SINT32 || type == USERCTL_TYPE_SINT64) {
        value = zigzag((int64_t)value);
    }
    return proto_wire_put_varint(out, value);
}

bool userctl_scalar_is_default(enum userctl_type type, uint64_t value)
{
    if (type == USERCTL_TYPE_BOOL) {
        return value == 0;
    }
    return userctl_scalar_wire(type) == PROTO_WIRE_VARINT && range_of(type) <= RANGE_UINT32
               ? (uint32_t)value == 0
               : value == 0;
}

/* The shortest text that is read as the same number. */
static void print_real(FILE *out, double real, bool is_float)
{
    char text[REAL_SIZE];

    if (isnan(real) || isinf(real)) {
        (void)fputs(isnan(real) ? "\"NaN\"" : real < 0 ? "\"-Infinity\"" : "\"Infinity\"", out);
        return;
    }
    for (int digits = is_float ? 6 : 15; digits <= 17; digits++) {
        double again;

        (void)snprintf(text, sizeof(text), "%.*g", digits, real);
        again = strtod(text, NULL);
        if (is_float ? (float)again == (float)real : again == real) {
            break;
        }
    }
    (void)fputs(text, out);
}

static void print_fraction(FILE *out, enum userctl_type type, uint64_t value)
{
    uint32_t bits = (uint32_t)value;
    float narrow;
    double real;

    if (type == USERCTL_TYPE_FLOAT) {
        memcpy(&narrow, &bits, sizeof(narrow));
        print_real(out, (double)narrow, true);
    } else {
        memcpy(&real, &value, sizeof(real));
        print_real(out, real, false);
    }
}

static uint64_t unzigzag(uint64_t value)
{
    return (value >> 1) ^ ((value & 1) != 0 ? UINT64_MAX : 0);
}

void userctl_scalar_print(FILE *out, enum userctl_type type, uint64_t value)
{
    if (type == USERCTL_TYPE_DOUBLE || type == USERCTL_TYPE_FLOAT) {
        print_fraction(out, type, value);
        return;
    }
    if (type == USERCTL_TYPE_BOOL) {
        (void)fputs(value != 0 ? "true" : "false", out);
        return;
    }
    if (type == USERCTL_TYPE_SINT32 || type == USERCTL_TYPE_SINT64) {
        value = unzigzag(type == USERCTL_TYPE_SINT32 ? (uint32_t)value : value);
    }
    switch (range_of(type)) {
    case RANGE_INT32:
        (void)fprintf(out, "%" PRId32, (int32_t)value);
        break;
    case RANGE_UINT32:
        (void)fprintf(out, "%" PRIu32, (uint32_t)value);
        break;
    case RANGE_INT64:
        (void)fprintf(out, "\"%" PRId64 "\"", (int64_t)value);
        break;
    case RANGE_UINT64:
        (void)fprintf(out, "\"%" PRIu64 "\"", value);
        break;
    }
}
