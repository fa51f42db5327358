#include "lib/unit.h"

#include "core/nearest_name.h"

#include <stdio.h>

#define LETTERS_MAX 6
#define WORD_COUNT  127 /* of so many letters or fewer */

/* The nearest of the names, which end with NULL; "" when none is near. */
static const char *nearest_of(const char *wanted, unsigned steps_max, const char *const *names)
{
    static char text[NEAREST_NAME_SIZE_MAX + 1];
    struct nearest_name nearest;

    nearest_name_begin(&nearest, bytes_from_text(wanted), steps_max);
    for (; *names != NULL; names++) {
        nearest_name_offer(&nearest, bytes_from_text(*names));
    }
    (void)snprintf(text, sizeof(text), "%.*s", (int)nearest.name.size,
                   nearest.name.data == NULL ? "" : (const char *)nearest.name.data);
    return text;
}

#define NEAREST(wanted, steps_max, ...)                                                            \
    nearest_of(wanted, steps_max, (const char *const[]){__VA_ARGS__, NULL})

/* What takes the fewest bytes inserted, removed or replaced is the nearest. */
START_TEST(nearest_name_finds_the_nearest)
{
    ck_assert_str_eq(NEAREST("polciy", 3, "server", "policy", "limits"), "policy");
    ck_assert_str_eq(NEAREST("sever", 2, "server"), "server");
    ck_assert_str_eq(NEAREST("serverr", 2, "server"), "server");
    ck_assert_str_eq(NEAREST("segmentsize", 4, "sync", "segment_size"), "segment_size");
    ck_assert_str_eq(NEAREST("cut", 2, "bat", "cat", "dog"), "cat");
}

END_TEST

/* Of two that are as near, the first one counts; one that is the same counts above all. */
START_TEST(nearest_name_takes_the_first_of_equals)
{
    ck_assert_str_eq(NEAREST("cot", 2, "cat", "cut"), "cat");
    ck_assert_str_eq(NEAREST("cut", 2, "cat", "cot", "cut", "cuts"), "cut");
    ck_assert_str_eq(NEAREST("", 2, "a", ""), "");
}

END_TEST

/* What takes more steps than was said is not near, nor is a name of a size that nobody expects. */
START_TEST(nearest_name_is_none_when_none_is_near)
{
    char longer[NEAREST_NAME_SIZE_MAX + 2];

    ck_assert_str_eq(NEAREST("kitten", 2, "sitting"), "");
    ck_assert_str_eq(NEAREST("kitten", 3, "sitting"), "sitting");
    ck_assert_str_eq(NEAREST("abc", 2, "xyz", "abcdef"), "");
    ck_assert_str_eq(NEAREST("abc", 0, "abd"), "");
    ck_assert_str_eq(NEAREST("abc", 0, "abc"), "abc");
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    ck_assert_str_eq(NEAREST(longer, 3, longer), "");
    ck_assert_str_eq(NEAREST(longer + 1, 3, longer), "");
    ck_assert_str_eq(NEAREST(longer + 1, 3, longer + 1), longer + 1);
}

END_TEST

/* The steps are told, and 0 says that it is the name itself. */
START_TEST(nearest_name_tells_the_steps)
{
    struct nearest_name nearest;

    nearest_name_begin(&nearest, BYTES_LITERAL("kitten"), 5);
    nearest_name_offer(&nearest, BYTES_LITERAL("sitting"));
    ck_assert_uint_eq(nearest.steps, 3);
    nearest_name_offer(&nearest, BYTES_LITERAL("mitten"));
    ck_assert_uint_eq(nearest.steps, 1);
    nearest_name_offer(&nearest, BYTES_LITERAL("kitten"));
    ck_assert_uint_eq(nearest.steps, 0);
    nearest_name_offer(&nearest, BYTES_LITERAL("other"));
    ck_assert(bytes_equal(nearest.name, BYTES_LITERAL("kitten")));
}

END_TEST

/* The definition, without any short cut. */
static unsigned steps_by_definition(struct bytes a, struct bytes b)
{
    unsigned table[LETTERS_MAX + 1][LETTERS_MAX + 1];

    for (size_t i = 0; i <= a.size; i++) {
        for (size_t j = 0; j <= b.size; j++) {
            unsigned best = (unsigned)(i + j);

            if (i > 0 && j > 0) {
                best = table[i - 1][j - 1] + (a.data[i - 1] == b.data[j - 1] ? 0 : 1);
                best = table[i - 1][j] + 1 < best ? table[i - 1][j] + 1 : best;
                best = table[i][j - 1] + 1 < best ? table[i][j - 1] + 1 : best;
            }
            table[i][j] = best;
        }
    }
    return table[a.size][b.size];
}

/* The index-th word of the letters a and b: of no letter, of one, of two ... */
static struct bytes word(unsigned index, uint8_t letters[LETTERS_MAX])
{
    size_t size = 0;

    for (index++; index > 1; index /= 2) {
        letters[size] = (uint8_t)('a' + index % 2);
        size++;
    }
    return (struct bytes){letters, size};
}

/* What is left out to be quick changes no answer: all pairs of short words. */
START_TEST(nearest_name_counts_as_the_definition_does)
{
    uint8_t letters[2][LETTERS_MAX];

    for (unsigned i = 0; i < WORD_COUNT * WORD_COUNT; i++) {
        const struct bytes a = word(i / WORD_COUNT, letters[0]);
        const struct bytes b = word(i % WORD_COUNT, letters[1]);
        const unsigned steps = steps_by_definition(a, b);

        for (unsigned steps_max = 0; steps_max <= LETTERS_MAX; steps_max++) {
            struct nearest_name nearest;

            nearest_name_begin(&nearest, a, steps_max);
            nearest_name_offer(&nearest, b);
            ck_assert((nearest.name.data != NULL) == (steps <= steps_max));
            ck_assert(nearest.name.data == NULL || nearest.steps == steps);
        }
    }
}

END_TEST

UNIT_MAIN("nearest_name", nearest_name_finds_the_nearest, nearest_name_takes_the_first_of_equals,
          nearest_name_is_none_when_none_is_near, nearest_name_tells_the_steps,
          nearest_name_counts_as_the_definition_does)
