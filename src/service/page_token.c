/*
 * A token, before it is written as text:
 *
 *     1 byte    version
 *     24 bytes  nonce, random
 *     24 bytes  after, change, total, little endian, sealed
 *     16 bytes  tag
 *
 * Sealed with XChaCha20-Poly1305, whose nonce is long enough to be drawn for every token. The
 * version and a hash of the filter go into the tag as well: a token of another filter is as wrong
 * as a forged one, and nothing tells which of them it was. As text: base64url without padding (RFC
 * 4648, section 5), of which exactly one spelling is taken.
 *
 * The key file is made under another name and gets its own when it is whole and on disk, so that a
 * crash leaves no half of one, which no later start would take. Of several servers that make the
 * same file at once the first one wins, and the others take its key: hence link(), which replaces
 * nothing, instead of rename().
 */
#include "service/page_token.h"

#include "core/random.h"
#include "core/slurp.h"

#include <sodium.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION    1
#define NONCE_SIZE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_SIZE   crypto_aead_xchacha20poly1305_ietf_ABYTES
#define PLACE_SIZE 24
#define TOKEN_SIZE (1 + NONCE_SIZE + PLACE_SIZE + TAG_SIZE)
#define TEXT_SIZE  sodium_base64_ENCODED_LEN(TOKEN_SIZE, sodium_base64_VARIANT_URLSAFE_NO_PADDING)
#define BOUND_SIZE (1 + crypto_generichash_BYTES)

_Static_assert(PAGE_TOKEN_KEY_SIZE == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "of libsodium");
_Static_assert(TEXT_SIZE <= PAGE_TOKEN_SIZE_MAX, "the token has room");

void page_token_key_wipe(struct page_token_key *key)
{
    sodium_memzero(key->bytes, sizeof(key->bytes));
}

/* Returns 0, -ENOENT when there is no file, and as page_token_key_load(). */
static int read_key(const char *path, struct page_token_key *key)
{
    char *text;
    size_t size;
    int result = slurp_file(path, PAGE_TOKEN_KEY_SIZE, &text, &size);

    if (result != 0) {
        return result == SLURP_E_TOO_LARGE ? PAGE_TOKEN_E_KEY : result;
    }
    if (size == PAGE_TOKEN_KEY_SIZE) {
        memcpy(key->bytes, text, size);
    } else {
        result = PAGE_TOKEN_E_KEY;
    }
    slurp_free(text, size);
    return result;
}

static int write_key(int fd, const struct page_token_key *key)
{
    size_t written = 0;

    while (written < PAGE_TOKEN_KEY_SIZE) {
        ssize_t count = write(fd, key->bytes + written, PAGE_TOKEN_KEY_SIZE - written);

        if (count < 0 && errno != EINTR) {
            return -errno;
        }
        written += count > 0 ? (size_t)count : 0;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

/* Makes the names in the folder of the file durable; cuts its name off. */
static int sync_folder(char *path)
{
    char *slash = strrchr(path, '/');
    int result = 0;
    int fd;

    if (slash != NULL) {
        slash[1] = '\0';
    }
    fd = open(slash != NULL ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    if (fsync(fd) < 0) {
        result = -errno;
    }
    (void)close(fd); /* the sync's result was seen */
    return result;
}

/* Makes the file under the name `draft`, then gives it its own. Returns 0 or negative errno;
 * -EEXIST when there is one by now. */
static int make_file(char *draft, const char *path, const struct page_token_key *key)
{
    int result;
    int fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);

    if (fd < 0) {
        return -errno;
    }
    result = write_key(fd, key);
    (void)close(fd); /* the sync's result was seen */
    if (result == 0 && link(draft, path) < 0) {
        result = -errno;
    }
    (void)unlink(draft); /* left behind it would do no harm */
    return result == 0 ? sync_folder(draft) : result;
}

static int make_key(const char *path, struct random_source *random, struct page_token_key *key)
{
    uint32_t number; /* nobody else makes a file of the same name */
    char *draft;
    int result;

    random_fill(random, key->bytes, sizeof(key->bytes));
    random_fill(random, &number, sizeof(number));
    if (asprintf(&draft, "%s.%08x", path, (unsigned)number) < 0) {
        return -ENOMEM;
    }
    result = make_file(draft, path, key);
    free(draft);
    return result;
}

int page_token_key_load(const char *path, struct random_source *random, struct page_token_key *key)
{
    struct page_token_key found;
    int result = read_key(path, &found);

    if (result == -ENOENT) {
        result = make_key(path, random, &found);
        if (result == -EEXIST) {
            result = read_key(path, &found);
        }
    }
    if (result == 0) {
        *key = found;
    }
    page_token_key_wipe(&found);
    return result;
}

/* What a token is good for, beside its key. */
static void bind_filter(struct bytes filter, uint8_t bound[BOUND_SIZE])
{
    bound[0] = VERSION;
    (void)crypto_generichash(bound + 1, crypto_generichash_BYTES, filter.data, filter.size, NULL,
                             0); /* fails for impossible sizes alone */
}

static uint8_t *put_number(uint8_t *at, uint64_t number)
{
    for (unsigned i = 0; i < 8; i++) {
        at[i] = (uint8_t)(number >> (8 * i));
    }
    return at + 8;
}

static uint64_t get_number(const uint8_t *at)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < 8; i++) {
        number |= (uint64_t)at[i] << (8 * i);
    }
    return number;
}

static void encode(const uint8_t token[TOKEN_SIZE], char out[TEXT_SIZE])
{
    (void)sodium_bin2base64(out, TEXT_SIZE, token, TOKEN_SIZE,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

/* False for what is no token, or spelt otherwise than encode() does. */
static bool decode(struct bytes text, uint8_t token[TOKEN_SIZE])
{
    char again[TEXT_SIZE];
    size_t size;

    if (text.size != TEXT_SIZE - 1 ||
        sodium_base642bin(token, TOKEN_SIZE, (const char *)text.data, text.size, NULL, &size, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
        size != TOKEN_SIZE) {
        return false;
    }
    encode(token, again); /* libsodium 1.0.18 takes any byte above 127 for a '_' */
    return memcmp(again, text.data, text.size) == 0;
}

size_t page_token_seal(const struct page_token_key *key, struct random_source *random,
                       struct bytes filter, const struct page_place *place,
                       char out[PAGE_TOKEN_SIZE_MAX])
{
    uint8_t token[TOKEN_SIZE] = {VERSION};
    uint8_t *nonce = token + 1;
    uint8_t plain[PLACE_SIZE];
    uint8_t bound[BOUND_SIZE];

    (void)put_number(put_number(put_number(plain, place->after), place->change), place->total);
    bind_filter(filter, bound);
    random_fill(random, nonce, NONCE_SIZE);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + NONCE_SIZE, NULL, plain, PLACE_SIZE,
                                                     bound, BOUND_SIZE, NULL, nonce,
                                                     key->bytes); /* cannot fail */
    encode(token, out);
    return TEXT_SIZE - 1;
}

int page_token_open(const struct page_token_key *key, struct bytes token, struct bytes filter,
                    struct page_place *ret_place)
{
    uint8_t opened[TOKEN_SIZE];
    const uint8_t *nonce = opened + 1;
    uint8_t plain[PLACE_SIZE];
    uint8_t bound[BOUND_SIZE];

    if (!decode(token, opened) || opened[0] != VERSION) {
        return PAGE_TOKEN_E_INVALID;
    }
    bind_filter(filter, bound);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain, NULL, NULL, nonce + NONCE_SIZE,
                                                   PLACE_SIZE + TAG_SIZE, bound, BOUND_SIZE, nonce,
                                                   key->bytes) != 0) {
        return PAGE_TOKEN_E_INVALID;
    }
    *ret_place = (struct page_place){
        .after = get_number(plain),
        .change = get_number(plain + 8),
        .total = get_number(plain + 16),
    };
    return 0;
}
