#include "service/user_id.h"

#include "core/random.h"

/*
 * 48 bits of time in ms, 4 bits of version, 12 bits, 2 bits of variant, 62 bits. In a new
 * millisecond the 74 free bits are random, the highest of them zero to leave room; within one they
 * count up by a random step, so that ids stay in order and the next one cannot be guessed (RFC
 * 9562, 6.2, method 2).
 */

#define HIGH_MAX 0xfffULL
#define LOW_MAX  0x3fffffffffffffffULL
#define TIME_MAX 0xffffffffffffULL
#define VERSION  0x7000ULL
#define VARIANT  0x8000ULL

static void start_millisecond(struct user_id_source *source, uint64_t ms)
{
    uint64_t bits[2];

    random_fill(source->random, bits, sizeof(bits));
    source->last_ms = ms & TIME_MAX;
    source->high = bits[0] & (HIGH_MAX >> 1);
    source->low = bits[1] & LOW_MAX;
}

static void step(struct user_id_source *source)
{
    uint32_t bits;

    random_fill(source->random, &bits, sizeof(bits));
    source->low += (uint64_t)bits + 1;
    if (source->low > LOW_MAX) {
        source->low &= LOW_MAX;
        source->high++;
    }
    if (source->high > HIGH_MAX) {
        start_millisecond(source, source->last_ms + 1);
    }
}

static char *put_hex(char *out, uint64_t value, unsigned digits)
{
    for (unsigned i = digits; i > 0; i--) {
        *out++ = "0123456789abcdef"[value >> (4 * (i - 1)) & 0xf];
    }
    return out;
}

void user_id_next(struct user_id_source *source, uint64_t now_ms, char out[USER_ID_SIZE])
{
    if (now_ms > source->last_ms) {
        start_millisecond(source, now_ms);
    } else {
        step(source);
    }
    out = put_hex(out, source->last_ms >> 16, 8);
    *out++ = '-';
    out = put_hex(out, source->last_ms & 0xffff, 4);
    *out++ = '-';
    out = put_hex(out, VERSION | source->high, 4);
    *out++ = '-';
    out = put_hex(out, VARIANT | source->low >> 48, 4);
    *out++ = '-';
    out = put_hex(out, source->low & 0xffffffffffffULL, 12);
    *out = '\0';
}
