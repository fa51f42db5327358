#include "lib/unit.h"

#include "service/user_fold.h"

#include <locale.h>
#include <stdio.h>
#include <wctype.h>

#define ASCII_MAX    0x7fU
#define UNICODE_SIZE 0x110000U

/* A text that is built piece by piece. */
struct text {
    uint8_t data[256];
    size_t size;
};

struct folded {
    uint8_t data[USER_FOLDED_BYTES_MAX];
    size_t size;
};

static struct bytes bytes_of(const struct text *text)
{
    return (struct bytes){text->data, text->size};
}

static struct bytes folded_bytes(const struct folded *folded)
{
    return (struct bytes){folded->data, folded->size};
}

/* libcheck reports every assertion that held to its parent, too slowly for loops over all
 * characters. `at` is the character, or the round. */
static void must(bool is_so, uint32_t at)
{
    if (!is_so) {
        ck_abort_msg("at %x", at);
    }
}

static void add_bytes(struct text *text, struct bytes bytes)
{
    must(text->size + bytes.size <= sizeof(text->data), 0);
    memcpy(text->data + text->size, bytes.data, bytes.size);
    text->size += bytes.size;
}

static void add_character(struct text *text, uint32_t character)
{
    uint8_t utf8[4];
    size_t size = character <= ASCII_MAX ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    static const uint8_t leads[] = {0x00, 0xc0, 0xe0, 0xf0};

    for (size_t i = size - 1; i > 0; i--) {
        utf8[i] = (uint8_t)(0x80 | (character & 0x3f));
        character >>= 6;
    }
    utf8[0] = (uint8_t)(leads[size - 1] | character);
    add_bytes(text, (struct bytes){utf8, size});
}

static bool is_surrogate(uint32_t character)
{
    return character >= 0xd800 && character < 0xe000;
}

static bool fold(struct bytes text, struct folded *ret_folded)
{
    int result = user_fold(text, ret_folded->data, &ret_folded->size);

    must(result == 0 || result == USER_FOLD_E_UNFIT, 0);
    return result == 0;
}

static bool fold_character(uint32_t character, struct folded *ret_folded)
{
    struct text text = {.size = 0};

    add_character(&text, character);
    return fold(bytes_of(&text), ret_folded);
}

static bool is_same(const char *a, const char *b)
{
    struct folded folded_a;
    struct folded folded_b;

    ck_assert_msg(fold(bytes_from_text(a), &folded_a), "%s", a);
    ck_assert_msg(fold(bytes_from_text(b), &folded_b), "%s", b);
    return bytes_equal(folded_bytes(&folded_a), folded_bytes(&folded_b));
}

/* The same numbers in every run. */
static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(*state >> 33);
}

/* ASCII is folded letter by letter; nothing else of it changes, not even controls. */
START_TEST(user_fold_lowers_ascii)
{
    uint8_t all[128];
    struct folded folded;

    for (size_t i = 0; i < sizeof(all); i++) {
        all[i] = (uint8_t)i;
    }
    ck_assert(fold((struct bytes){all, sizeof(all)}, &folded));
    ck_assert_uint_eq(folded.size, sizeof(all));
    for (size_t i = 0; i < sizeof(all); i++) {
        ck_assert_uint_eq(folded.data[i], i >= 'A' && i <= 'Z' ? i + 32 : i);
    }
    ck_assert(fold((struct bytes){0}, &folded));
    ck_assert_uint_eq(folded.size, 0);
}

END_TEST

/* Ways to write one letter, or one run of them, up to four. */
static const char *const variants[][4] = {
    {"a", "A", "\xef\xbc\xa1", "\xef\xbd\x81"},                                     /* full width */
    {"\xc3\xa9", "\xc3\x89", "e\xcc\x81", "E\xcc\x81"},                             /* e acute */
    {"\xe1\xbb\x87", "e\xcc\xa3\xcc\x82", "e\xcc\x82\xcc\xa3", "\xc3\xaa\xcc\xa3"}, /* two marks */
    {"fi", "FI", "\xef\xac\x81", "fI"},                                             /* ligature */
    {"\xc3\x9f", "ss", "SS", "\xe1\xba\x9e"},                                       /* sharp s */
    {"\xcf\x83", "\xce\xa3", "\xcf\x82", "\xcf\x83"},      /* three sigmas */
    {"\xc3\xa5", "\xe2\x84\xab", "A\xcc\x8a", "\xc3\x85"}, /* Angstrom */
    {"2", "\xc2\xb2", "\xe2\x82\x82", "\xef\xbc\x92"},     /* superscript */
    {"\xed\x95\x9c", "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "\xed\x95\x98\xe1\x86\xab",
     "\xed\x95\x9c"}, /* Hangul */
    {"\xe1\xbe\x84", "\xce\xb1\xcd\x85\xcc\x93\xcc\x81", "\xe1\xbe\x8c",
     "\xe1\xbc\x84\xce\xb9"}, /* iota subscript, whatever stands between it and its letter */
    {"iv", "IV", "\xe2\x85\xa3", "\xe2\x85\xb3"},                 /* Roman number */
    {"\xd8\xb4", "\xef\xba\xb5", "\xef\xba\xb7", "\xef\xba\xb8"}, /* Arabic forms */
    {"\xf0\x90\x90\xa8", "\xf0\x90\x90\x80", "\xf0\x90\x90\xa8", "\xf0\x90\x90\x80"}, /* Deseret */
    {"\xe1\x8f\xb8", "\xe1\x8f\xb0", "\xe1\x8f\xb8", "\xe1\x8f\xb0"},                 /* Cherokee */
    {"\xe3\x82\xac", "\xef\xbd\xb6\xef\xbe\x9e", "\xe3\x82\xab\xe3\x82\x99",
     "\xe3\x82\xac"},                                  /* ga */
    {" ", "\xc2\xa0", "\xe3\x80\x80", "\xe2\x80\x83"}, /* spaces */
};

#define VARIANT_COUNT (sizeof(variants) / sizeof(variants[0]))

/* Each of them at each place of texts of many lengths, for eight are folded at a time. */
START_TEST(user_fold_lowers_ascii_at_each_place)
{
    for (size_t size = 1; size <= 40; size++) {
        for (size_t at = 0; at < size; at++) {
            for (uint8_t c = 1; c < 0x80; c++) {
                uint8_t expected = (uint8_t)(c >= 'A' && c <= 'Z' ? c + 0x20 : c);
                uint8_t text[40];
                uint8_t folded[USER_FOLDED_BYTES_MAX];
                size_t folded_size;

                memset(text, 'Q', size);
                text[at] = c;
                ck_assert_int_eq(user_fold((struct bytes){text, size}, folded, &folded_size), 0);
                ck_assert_uint_eq(folded_size, size);
                for (size_t i = 0; i < size; i++) {
                    ck_assert_uint_eq(folded[i], i == at ? expected : 'q');
                }
            }
        }
    }
}

END_TEST

/* The four ways to write a letter fold into the same. */
START_TEST(user_fold_equates_variants)
{
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        for (size_t j = 1; j < 4; j++) {
            ck_assert_msg(is_same(variants[i][0], variants[i][j]), "case %zu, %zu", i, j);
        }
    }
}

END_TEST

/* So do texts of many letters, each written in a way of its own. */
START_TEST(user_fold_equates_variants_in_texts)
{
    uint64_t random = 1;

    for (unsigned round = 0; round < 20000; round++) {
        struct text a = {.size = 0};
        struct text b = {.size = 0};
        struct folded folded_a;
        struct folded folded_b;

        for (uint32_t left = next_random(&random) % 12 + 1; left > 0; left--) {
            const char *const *letter = variants[next_random(&random) % VARIANT_COUNT];

            add_bytes(&a, bytes_from_text(letter[next_random(&random) % 4]));
            add_bytes(&b, bytes_from_text(letter[next_random(&random) % 4]));
        }
        must(fold(bytes_of(&a), &folded_a), round);
        must(fold(bytes_of(&b), &folded_b), round);
        must(bytes_equal(folded_bytes(&folded_a), folded_bytes(&folded_b)), round);
    }
}

END_TEST

/* Letters that are others stay others, even when they look the same. */
START_TEST(user_fold_keeps_letters_apart)
{
    ck_assert(!is_same("a", "\xc3\xa4"));
    ck_assert(!is_same("a", "\xd0\xb0")); /* Cyrillic */
    ck_assert(!is_same("i", "\xc4\xb1")); /* dotless */
    ck_assert(!is_same("i", "\xc4\xb0")); /* with a dot above, which stays */
    ck_assert(!is_same("o", "0"));
    ck_assert(!is_same("ab", "a\xe2\x80\213b")); /* names may not have what is ignored elsewhere */
    ck_assert(!is_same("e\xcc\x81\xcc\x82", "e\xcc\x82\xcc\x81"));
}

END_TEST

/* Every character: what folds once folds into the same again, and into no more than the bound. */
START_TEST(user_fold_is_idempotent_for_every_character)
{
    unsigned folding = 0;

    for (uint32_t c = 0; c < UNICODE_SIZE; c++) {
        struct folded once;
        struct folded twice;

        if (is_surrogate(c) || !fold_character(c, &once)) {
            continue;
        }
        must(fold(folded_bytes(&once), &twice), c);
        must(bytes_equal(folded_bytes(&once), folded_bytes(&twice)), c);
        must(once.size <= 33, c); /* U+FDFA, a blessing in one character */
        folding++;
    }
    ck_assert_uint_gt(folding, 280000); /* Unicode 14 has them, private ones included */
}

END_TEST

static bool folds_alike(uint32_t a, uint32_t b)
{
    struct folded folded_a;
    struct folded folded_b;

    return fold_character(a, &folded_a) && fold_character(b, &folded_b) &&
           bytes_equal(folded_bytes(&folded_a), folded_bytes(&folded_b));
}

/* Upper and lower case, by the tables of the C library, are the same, for every letter but the two
 * that only Turkic languages pair with i and I. */
START_TEST(user_fold_ignores_case_of_every_character)
{
    struct folded folded;
    unsigned letters = 0;

    ck_assert_ptr_nonnull(setlocale(LC_CTYPE, "C.UTF-8"));
    for (uint32_t c = 0; c < UNICODE_SIZE; c++) {
        uint32_t upper = (uint32_t)towupper((wint_t)c);
        uint32_t lower = (uint32_t)towlower((wint_t)c);

        if (is_surrogate(c) || (upper == c && lower == c) || !fold_character(c, &folded)) {
            continue;
        }
        must(folds_alike(c, upper) == (c != 0x131), c);
        must(folds_alike(c, lower) == (c != 0x130), c);
        letters++;
    }
    ck_assert_uint_gt(letters, 2500);
}

END_TEST

/* A character out of one of the places where folding has most to do, or of anywhere. */
static uint32_t random_character(uint64_t *random)
{
    static const struct {
        uint32_t first;
        uint32_t count;
    } places[] = {
        {0x20, 0x60},     {0xa0, 0x1b0},      {0x300, 0x70},    {0x370, 0x90},    {0x5b0, 0x40},
        {0x620, 0x60},    {0x900, 0x400},     {0x1100, 0x100},  {0x1ab0, 0x20},   {0x1dc0, 0x40},
        {0x1e00, 0x200},  {0x2100, 0x90},     {0x3040, 0xc0},   {0xac00, 0x2ba4}, {0xf900, 0x6ff},
        {0xff00, 0xf0},   {0x1d160, 0x20},    {0x1d400, 0x400}, {0x1e900, 0x60},  {0, 0xd800},
        {0xe000, 0x2000}, {0x10000, 0x10000},
    };

    uint32_t place = next_random(random) % (uint32_t)(sizeof(places) / sizeof(places[0]));

    return places[place].first + next_random(random) % places[place].count;
}

/* Random texts: folding is idempotent, and what passes as a name folds into what passes too. */
START_TEST(user_fold_is_idempotent_for_texts)
{
    uint64_t random = 7;
    unsigned folding = 0;
    unsigned names = 0;

    for (unsigned round = 0; round < 100000; round++) {
        struct text text = {.size = 0};
        struct folded once;
        struct folded twice;
        bool is_name;

        for (uint32_t left = next_random(&random) % 6 + 1; left > 0; left--) {
            add_character(&text, random_character(&random));
        }
        is_name = user_fold_check_name(bytes_of(&text)) == USER_FOLD_FINE;
        if (!fold(bytes_of(&text), &once)) {
            must(!is_name, round);
            continue;
        }
        must(fold(folded_bytes(&once), &twice), round);
        must(bytes_equal(folded_bytes(&once), folded_bytes(&twice)), round);
        must(!is_name || user_fold_check_name(folded_bytes(&once)) == USER_FOLD_FINE, round);
        folding++;
        names += is_name;
    }
    ck_assert_uint_gt(folding, 10000);
    ck_assert_uint_gt(names, 5000);
}

END_TEST

/* Neither a text nor its folded form may have more than 512 bytes; a refusal gives nothing. */
START_TEST(user_fold_has_limits)
{
    uint8_t ascii[USER_FOLDED_BYTES_MAX + 1];
    struct text text = {.size = 0};
    struct folded folded = {.size = 7};

    memset(ascii, 'A', sizeof(ascii));
    ck_assert(!fold((struct bytes){ascii, sizeof(ascii)}, &folded));
    ck_assert_uint_eq(folded.size, 7);
    ck_assert(fold((struct bytes){ascii, sizeof(ascii) - 1}, &folded));
    ck_assert_uint_eq(folded.size, USER_FOLDED_BYTES_MAX);

    for (unsigned i = 0; i < 15; i++) {
        add_character(&text, 0xfdfa);
    }
    ck_assert(fold(bytes_of(&text), &folded));
    ck_assert_uint_eq(folded.size, 15 * 33);
    add_character(&text, 0xfdfa);
    ck_assert(!fold(bytes_of(&text), &folded));
    ck_assert_uint_eq(folded.size, 15 * 33);
    ck_assert_int_eq(user_fold_check_name(bytes_of(&text)), USER_FOLD_LONG);
}

END_TEST

/* The longest folded form, of the letters that decompose into most characters, folds again. */
START_TEST(user_fold_fits_what_it_folded)
{
    uint8_t longest[USER_FOLDED_BYTES_MAX];
    struct folded folded;

    for (size_t i = 0; i < sizeof(longest); i += 2) {
        memcpy(longest + i, "\xce\x90", 2); /* iota, diaeresis, acute */
    }
    ck_assert(fold((struct bytes){longest, sizeof(longest)}, &folded));
    ck_assert(bytes_equal(folded_bytes(&folded), (struct bytes){longest, sizeof(longest)}));
}

END_TEST

/* What is not UTF-8, or has characters of which nothing is known, does not fold. */
START_TEST(user_fold_refuses_what_it_does_not_know)
{
    static const char *const texts[] = {
        "\x80",         "\xc3",         "a\xff",        "\xc0\x80",         "\xe2\x82",
        "\xc3\x28",     "\xed\xa0\x80", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xcd\xb8",
        "\xef\xbf\xbe", "\xef\xb7\x90",
    };
    struct folded folded;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        ck_assert_msg(!fold(bytes_from_text(texts[i]), &folded), "case %zu", i);
        ck_assert_msg(user_fold_check_name(bytes_from_text(texts[i])) != USER_FOLD_FINE, "case %zu",
                      i);
    }
}

END_TEST

struct sample {
    const char *text;
    enum user_fold_fault fault;
};

static void check_samples(const struct sample *samples, size_t count,
                          enum user_fold_fault (*check)(struct bytes text))
{
    for (size_t i = 0; i < count; i++) {
        ck_assert_msg(check(bytes_from_text(samples[i].text)) == samples[i].fault,
                      "case %zu (%s): %d", i, samples[i].text,
                      (int)check(bytes_from_text(samples[i].text)));
    }
}

/* Names: any script, one direction, nothing hidden. */
START_TEST(user_fold_judges_names)
{
    static const struct sample samples[] = {
        {"", USER_FOLD_FINE},
        {"Anna Berg", USER_FOLD_FINE},
        {"anna.berg-1_x+y@example.org", USER_FOLD_FINE},
        {"\xe5\xbc\xa0\xe4\xbc\x9f", USER_FOLD_FINE},
        {"\xf0\x9f\x98\x80", USER_FOLD_FINE},
        {"e\xcc\x81", USER_FOLD_FINE},
        {"\xe0\xa4\xb9\xe0\xa4\xbf\xe0\xa4\xa8\xe0\xa5\x8d\xe0\xa4\xa6\xe0\xa5\x80",
         USER_FOLD_FINE},
        {"a\x7f", USER_FOLD_HIDDEN},
        {"a\xc2\x85", USER_FOLD_HIDDEN},
        {"a\xc2\255b", USER_FOLD_HIDDEN},        /* soft hyphen */
        {"a\xe2\x80\214b", USER_FOLD_HIDDEN},    /* zero width non-joiner */
        {"a\xe2\x80\215b", USER_FOLD_HIDDEN},    /* zero width joiner */
        {"a\xe2\x80\217b", USER_FOLD_HIDDEN},    /* right-to-left mark */
        {"a\xe2\x80\256b", USER_FOLD_HIDDEN},    /* right-to-left override */
        {"a\xe2\x81\246b", USER_FOLD_HIDDEN},    /* isolate */
        {"a\xe2\x80\250b", USER_FOLD_HIDDEN},    /* line separator */
        {"a\xe2\x80\251b", USER_FOLD_HIDDEN},    /* paragraph separator */
        {"a\xef\xb8\217b", USER_FOLD_HIDDEN},    /* variation selector */
        {"a\xe3\x85\244b", USER_FOLD_HIDDEN},    /* Hangul filler */
        {"a\xe2\xa0\200b", USER_FOLD_HIDDEN},    /* empty Braille cell */
        {"a\xef\xbf\275b", USER_FOLD_HIDDEN},    /* replacement character */
        {"a\xf3\xa0\x80\xa1", USER_FOLD_HIDDEN}, /* tag */
        {"a\xcd\xb8", USER_FOLD_UNASSIGNED},
        {"a\xee\x80\x80", USER_FOLD_UNASSIGNED}, /* private */
        {"a\xef\xbf\xbf", USER_FOLD_UNASSIGNED}, /* noncharacter */
        {"a\xc2\240b", USER_FOLD_SPACE},         /* no-break space */
        {"a\xe3\x80\200b", USER_FOLD_SPACE},     /* ideographic space */
        {"a\xe2\x80\203b", USER_FOLD_SPACE},     /* em space */
        {" a", USER_FOLD_SPACE},
        {"a ", USER_FOLD_SPACE},
        {"\xc2\250a", USER_FOLD_SPACE}, /* diaeresis: a space and a mark */
        {"\xcc\201a", USER_FOLD_MARK},
        {"\xe0\xa4\xbf", USER_FOLD_MARK}, /* spacing mark */
        {"\xef\xbe\x9e\xe3\x82\xab",
         USER_FOLD_MARK}, /* a half width letter that folds into a mark */
        {"a\xff", USER_FOLD_MALFORMED},
        {"a\xed\xa0\x80", USER_FOLD_MALFORMED}, /* surrogate */
    };

    check_samples(samples, sizeof(samples) / sizeof(samples[0]), user_fold_check_name);
}

END_TEST

#define ALEF  "\xd7\x90"
#define BEH   "\xd8\xa8"
#define POINT "\xd6\xb0" /* a Hebrew mark */
#define INDIC "\xd9\xa1" /* an Arabic digit */

/* The conditions of RFC 5893, section 2, one by one; texts from left to right alone are free. */
START_TEST(user_fold_obeys_the_bidi_rule)
{
    static const struct sample samples[] = {
        {ALEF ALEF, USER_FOLD_FINE},
        {BEH "-" BEH, USER_FOLD_FINE},
        {ALEF "1", USER_FOLD_FINE},
        {ALEF POINT, USER_FOLD_FINE},
        {BEH INDIC, USER_FOLD_FINE},
        {"ab " ALEF, USER_FOLD_FINE},
        {ALEF " ab", USER_FOLD_FINE},
        {ALEF "  ab1" POINT, USER_FOLD_FINE},
        {"1" ALEF, USER_FOLD_DIRECTION},       /* 1: begins with a digit */
        {INDIC, USER_FOLD_DIRECTION},          /* 1 */
        {"-" ALEF, USER_FOLD_DIRECTION},       /* 1 */
        {ALEF " 1a", USER_FOLD_DIRECTION},     /* 1, in the part beside it */
        {ALEF "a", USER_FOLD_DIRECTION},       /* 2: a letter of the other direction */
        {ALEF "a" ALEF, USER_FOLD_DIRECTION},  /* 2 */
        {ALEF "-", USER_FOLD_DIRECTION},       /* 3: ends with neither letter nor digit */
        {ALEF "-" POINT, USER_FOLD_DIRECTION}, /* 3 */
        {BEH INDIC "1", USER_FOLD_DIRECTION},  /* 4: digits of both kinds */
        {"a" ALEF, USER_FOLD_DIRECTION},       /* 5 */
        {"a" INDIC "b", USER_FOLD_DIRECTION},  /* 5 */
        {"a- " ALEF, USER_FOLD_DIRECTION},     /* 6: ends with neither letter nor digit */
        {"1-", USER_FOLD_FINE},
        {"-a-", USER_FOLD_FINE},
    };

    check_samples(samples, sizeof(samples) / sizeof(samples[0]), user_fold_check_name);
}

END_TEST

/* The examples of RFC 8265, section 3.5. We take more (spaces, numbers for compatibility, symbols),
 * and for the same name what differs by full case folding. */
START_TEST(user_fold_takes_the_names_of_precis)
{
    static const char *const names[] = {
        "juliet@example.com", "fussball", "fu\xc3\237ball", "\xcf\x80",          "\xce\xa3",
        "\xcf\x83",           "\xcf\x82", "foo bar",        "henry\xe2\x85\xa3", "\xe2\x99\x9a",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        ck_assert_msg(user_fold_check_name(bytes_from_text(names[i])) == USER_FOLD_FINE, "%s",
                      names[i]);
    }
    ck_assert(is_same("fussball", "fu\xc3\237ball"));
    ck_assert(is_same("\xce\xa3", "\xcf\x83"));
    ck_assert(is_same("\xce\xa3", "\xcf\x82"));
    ck_assert(is_same("henry\xe2\x85\xa3", "HenryIV"));
    ck_assert(!is_same("\xe2\x99\x9a", "\xe2\x99\x94")); /* a black king, a white one */
}

END_TEST

/* Thirty marks on one letter are the most, in names and in texts that are shown. */
START_TEST(user_fold_limits_runs_of_marks)
{
    struct text text = {.size = 0};

    add_character(&text, 'q');
    for (unsigned i = 0; i < USER_FOLD_MARKS_MAX; i++) {
        add_character(&text, 0x300 + i % 5);
    }
    ck_assert_int_eq(user_fold_check_name(bytes_of(&text)), USER_FOLD_FINE);
    ck_assert_int_eq(user_fold_check_text(bytes_of(&text)), USER_FOLD_FINE);
    add_character(&text, 0x300);
    ck_assert_int_eq(user_fold_check_name(bytes_of(&text)), USER_FOLD_MARK);
    ck_assert_int_eq(user_fold_check_text(bytes_of(&text)), USER_FOLD_MARK);
}

END_TEST

/* Marks that become too many by folding are too many as well. */
START_TEST(user_fold_limits_marks_of_the_folded_form)
{
    struct text text = {.size = 0};

    add_character(&text, 0x958); /* a letter and a mark, which nothing composes again */
    for (unsigned i = 0; i < USER_FOLD_MARKS_MAX; i++) {
        add_character(&text, 0x300);
    }
    ck_assert_int_eq(user_fold_check_text(bytes_of(&text)), USER_FOLD_FINE);
    ck_assert_int_eq(user_fold_check_name(bytes_of(&text)), USER_FOLD_MARK);
}

END_TEST

/* Texts that are shown: nothing that reaches beyond them; joiners and marks of direction, any
 * character that a later Unicode may bring, and private ones. */
START_TEST(user_fold_judges_texts)
{
    static const struct sample samples[] = {
        {"", USER_FOLD_FINE},
        {" Anna\xc2\xa0"
         "Berg ",
         USER_FOLD_FINE},
        {"\xe2\x80\x8c\xe2\x80\x8d\xe2\x80\x8e\xe2\x80\x8f", USER_FOLD_FINE},
        {"a" ALEF "1", USER_FOLD_FINE},
        {"\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80\xef\xb8\x8f", USER_FOLD_FINE},
        {"\xcd\xb8\xee\x80\x80", USER_FOLD_FINE},
        {"a\n", USER_FOLD_HIDDEN},
        {"\x1b[1m", USER_FOLD_HIDDEN},
        {"\x7f", USER_FOLD_HIDDEN},
        {"\xc2\x9b", USER_FOLD_HIDDEN},
        {"\xe2\x80\xa8", USER_FOLD_HIDDEN},
        {"\xe2\x80\xa9", USER_FOLD_HIDDEN},
        {"\xe2\x80\xaa", USER_FOLD_HIDDEN},
        {"\xe2\x80\xae", USER_FOLD_HIDDEN},
        {"\xe2\x81\xa6", USER_FOLD_HIDDEN},
        {"\xe2\x81\xa9", USER_FOLD_HIDDEN},
        {"\xef\xb7\x90", USER_FOLD_UNASSIGNED},
        {"\xef\xb7\xaf", USER_FOLD_UNASSIGNED},
        {"\xef\xbf\xbe", USER_FOLD_UNASSIGNED},
        {"\xf4\x8f\xbf\xbf", USER_FOLD_UNASSIGNED},
        {"\xc3", USER_FOLD_MALFORMED},
    };

    check_samples(samples, sizeof(samples) / sizeof(samples[0]), user_fold_check_text);
}

END_TEST

UNIT_MAIN("user_fold", user_fold_lowers_ascii, user_fold_lowers_ascii_at_each_place,
          user_fold_equates_variants, user_fold_equates_variants_in_texts,
          user_fold_keeps_letters_apart, user_fold_is_idempotent_for_every_character,
          user_fold_ignores_case_of_every_character, user_fold_is_idempotent_for_texts,
          user_fold_has_limits, user_fold_fits_what_it_folded,
          user_fold_refuses_what_it_does_not_know, user_fold_judges_names,
          user_fold_obeys_the_bidi_rule, user_fold_takes_the_names_of_precis,
          user_fold_limits_runs_of_marks, user_fold_limits_marks_of_the_folded_form,
          user_fold_judges_texts)
