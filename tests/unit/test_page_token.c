#include "lib/unit.h"

#include "core/random.h"
#include "service/page_token.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct page_place PLACE = {.after = 0x0102030405060708, .change = 77, .total = 12345};

static struct page_token_key make_key(uint8_t first)
{
    struct page_token_key key = {{first, 2, 3}};

    return key;
}

static bool same_place(const struct page_place *a, const struct page_place *b)
{
    return a->after == b->after && a->change == b->change && a->total == b->total;
}

/* A token says what was put into it, in text that needs no escaping in an URL. */
START_TEST(page_token_opens_what_it_sealed)
{
    static const struct page_place places[] = {
        {0}, {.after = 1}, {UINT64_MAX, UINT64_MAX, UINT64_MAX}};
    struct page_token_key key = make_key(1);
    struct page_place opened;
    char text[PAGE_TOKEN_SIZE_MAX];

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        size_t size =
            page_token_seal(&key, random_system(), BYTES_LITERAL("a=b"), &places[i], text);

        ck_assert_uint_eq(size, strlen(text));
        ck_assert_uint_eq(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                       "0123456789-_"),
                          size);
        ck_assert_int_eq(
            page_token_open(&key, bytes_from_text(text), BYTES_LITERAL("a=b"), &opened), 0);
        ck_assert(same_place(&opened, &places[i]));
    }
}

END_TEST

/* Two tokens of the same place have nothing in common but the version. */
START_TEST(page_token_is_never_the_same)
{
    struct page_token_key key = make_key(1);
    char a[PAGE_TOKEN_SIZE_MAX];
    char b[PAGE_TOKEN_SIZE_MAX];
    unsigned same = 0;
    size_t size = page_token_seal(&key, random_system(), BYTES_LITERAL(""), &PLACE, a);

    ck_assert_uint_eq(page_token_seal(&key, random_system(), BYTES_LITERAL(""), &PLACE, b), size);
    for (size_t i = 0; i < size; i++) {
        same += a[i] == b[i];
    }
    ck_assert_uint_lt(same, size / 4);
}

END_TEST

/* Every other token is refused: each byte changed to each other one, cut anywhere, made longer. */
START_TEST(page_token_refuses_what_was_changed)
{
    struct page_token_key key = make_key(1);
    struct bytes filter = BYTES_LITERAL("roles:admin");
    struct page_place opened;
    char text[PAGE_TOKEN_SIZE_MAX + 1];
    size_t size = page_token_seal(&key, random_system(), filter, &PLACE, text);
    struct bytes token = {(const uint8_t *)text, size};

    for (size_t i = 0; i < size; i++) {
        char kept = text[i];

        for (int value = 0; value < 256; value++) {
            text[i] = (char)value;
            ck_assert_int_eq(page_token_open(&key, token, filter, &opened),
                             text[i] == kept ? 0 : PAGE_TOKEN_E_INVALID);
        }
        text[i] = kept;
    }
    for (token.size = 0; token.size < size; token.size++) {
        ck_assert_int_eq(page_token_open(&key, token, filter, &opened), PAGE_TOKEN_E_INVALID);
    }
    for (const char *more = "A=-\n "; *more != '\0'; more++) {
        text[size] = *more;
        token.size = size + 1;
        ck_assert_int_eq(page_token_open(&key, token, filter, &opened), PAGE_TOKEN_E_INVALID);
    }
    ck_assert_int_eq(page_token_open(&key, BYTES_LITERAL("50"), filter, &opened),
                     PAGE_TOKEN_E_INVALID);
}

END_TEST

/* A token is good for its filter, letter by letter, and for its key, and for no other. */
START_TEST(page_token_is_bound_to_filter_and_key)
{
    static const char *const others[] = {"", "roles:admi", "roles:admin ", "ROLES:admin"};
    struct page_token_key key = make_key(1);
    struct page_token_key other_key = make_key(2);
    struct bytes filter = BYTES_LITERAL("roles:admin");
    struct page_place opened = {.after = 5};
    char text[PAGE_TOKEN_SIZE_MAX];
    struct bytes token = {(const uint8_t *)text,
                          page_token_seal(&key, random_system(), filter, &PLACE, text)};

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        ck_assert_int_eq(page_token_open(&key, token, bytes_from_text(others[i]), &opened),
                         PAGE_TOKEN_E_INVALID);
    }
    ck_assert_int_eq(page_token_open(&other_key, token, filter, &opened), PAGE_TOKEN_E_INVALID);
    ck_assert_uint_eq(opened.after, 5);
    ck_assert_int_eq(page_token_open(&key, token, filter, &opened), 0);
}

END_TEST

/* A folder that is gone after the test. */
static char folder[64];
static char path[96];

static void make_folder(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/test_page_token.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/key", folder);
}

static void write_file(size_t size)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    for (size_t i = 0; i < size; i++) {
        ck_assert_int_ne(fputc('k', file), EOF);
    }
    ck_assert_int_eq(fclose(file), 0);
}

/* The first start makes the key, for its owner alone, and leaves nothing else; later ones read it.
 */
START_TEST(page_token_makes_its_key_once)
{
    struct page_token_key first;
    struct page_token_key second;
    struct stat status;

    make_folder();
    ck_assert_int_eq(page_token_key_load(path, random_system(), &first), 0);
    ck_assert_int_eq(page_token_key_load(path, random_system(), &second), 0);
    ck_assert_mem_eq(&first, &second, sizeof(first));
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0600);
    ck_assert_int_eq(status.st_size, PAGE_TOKEN_KEY_SIZE);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(page_token_key_load(path, random_system(), &second), 0);
    ck_assert_mem_ne(&first, &second, sizeof(first));
    page_token_key_wipe(&second);
    ck_assert_mem_eq(&second, &(struct page_token_key){{0}}, sizeof(second));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing else is in it */
}

END_TEST

/* Somebody else makes the file as soon as we have found that there is none. */
static void fill_late(struct random_source *source, void *bytes, size_t size)
{
    (void)source;
    memset(bytes, 'm', size);
    write_file(PAGE_TOKEN_KEY_SIZE);
}

/* Of two servers that share a key file and start together both take the key of the one that was
 * first: tokens of either would be lost otherwise. */
START_TEST(page_token_takes_the_key_that_came_first)
{
    struct random_source late = {fill_late};
    struct page_token_key key;
    struct page_token_key again;

    make_folder();
    ck_assert_int_eq(page_token_key_load(path, &late, &key), 0);
    ck_assert_uint_eq(key.bytes[0], 'k');
    ck_assert_int_eq(page_token_key_load(path, random_system(), &again), 0);
    ck_assert_mem_eq(&key, &again, sizeof(key));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing else is in it */
}

END_TEST

/* A name without a folder is one in the folder the program runs in. */
START_TEST(page_token_takes_a_plain_name)
{
    struct page_token_key key;

    make_folder();
    ck_assert_int_eq(chdir(folder), 0);
    ck_assert_int_eq(page_token_key_load("key", random_system(), &key), 0);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(rmdir(folder), 0);
}

END_TEST

/* A file of another size is no key, and is not replaced; what cannot be read or made is told. */
START_TEST(page_token_refuses_bad_key_files)
{
    static const size_t sizes[] = {0, PAGE_TOKEN_KEY_SIZE - 1, PAGE_TOKEN_KEY_SIZE + 1, 10000};
    struct page_token_key key = make_key(9);
    struct stat status;

    make_folder();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        write_file(sizes[i]);
        ck_assert_int_eq(page_token_key_load(path, random_system(), &key), PAGE_TOKEN_E_KEY);
        ck_assert_int_eq(stat(path, &status), 0);
        ck_assert_int_eq(status.st_size, (off_t)sizes[i]);
    }
    ck_assert_uint_eq(key.bytes[0], 9);
    write_file(PAGE_TOKEN_KEY_SIZE);
    ck_assert_int_eq(page_token_key_load(path, random_system(), &key), 0);
    ck_assert_uint_eq(key.bytes[0], 'k');
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(page_token_key_load(folder, random_system(), &key), -EISDIR);
    ck_assert_int_eq(rmdir(folder), 0);
    ck_assert_int_eq(page_token_key_load(path, random_system(), &key), -ENOENT);
}

END_TEST

UNIT_MAIN("page_token", page_token_opens_what_it_sealed, page_token_is_never_the_same,
          page_token_refuses_what_was_changed, page_token_is_bound_to_filter_and_key,
          page_token_makes_its_key_once, page_token_takes_the_key_that_came_first,
          page_token_takes_a_plain_name, page_token_refuses_bad_key_files)
