/*
 * Any bytes as page token: refused, unless they are what the key has sealed; and any place is
 * opened as it was sealed, for its filter alone.
 *
 * Thread: one.
 */
#include "core/random.h"
#include "service/page_token.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Repeats itself: the same input does the same in every run. */
static void fill(struct random_source *source, void *bytes, size_t size)
{
    (void)source;
    memset(bytes, 0x5a, size);
}

static struct random_source source = {.fill = fill};

static void check_round_trip(const struct page_token_key *key, struct bytes input)
{
    struct page_place place = {0};
    struct page_place opened;
    struct bytes filter = input;
    struct bytes token;
    char text[PAGE_TOKEN_SIZE_MAX];

    memcpy(&place, input.data, sizeof(place));
    token.size = page_token_seal(key, &source, filter, &place, text);
    token.data = (const uint8_t *)text;
    assert(page_token_open(key, token, filter, &opened) == 0);
    assert(memcmp(&opened, &place, sizeof(place)) == 0);
    filter.size--;
    assert(page_token_open(key, token, filter, &opened) == PAGE_TOKEN_E_INVALID);
}

/* Changes one bit of a good token. */
static void check_flipped(const struct page_token_key *key, uint8_t where, uint8_t bit)
{
    const struct page_place place = {.after = 1};
    struct page_place opened;
    char text[PAGE_TOKEN_SIZE_MAX];
    size_t size = page_token_seal(key, &source, (struct bytes){0}, &place, text);

    text[where % size] = (char)(text[where % size] ^ (1 << bit % 8));
    assert(page_token_open(key, (struct bytes){(const uint8_t *)text, size}, (struct bytes){0},
                           &opened) == PAGE_TOKEN_E_INVALID);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct page_token_key key = {{1, 2, 3}};
    const struct bytes input = {data, size};
    struct page_place place;

    assert(page_token_open(&key, input, (struct bytes){0}, &place) == PAGE_TOKEN_E_INVALID);
    if (size >= sizeof(place)) {
        check_round_trip(&key, input);
        check_flipped(&key, data[0], data[1]);
    }
    return 0;
}
