#include "lib/unit.h"

#include "allocation_faults.h"
#include "reflection_fixture.h"
#include "service/embedded.h"

#include <errno.h>
#include <stdio.h>

/* Sets of descriptors made by hand, and the one that is built in. */

/* Reads the set, whose bytes stay until the end of the test. */
static struct reflection_index *index_of(const struct buf *set)
{
    struct reflection_index *index;

    ck_assert_int_eq(reflection_index_new(buf_bytes(set), &index), 0);
    return index;
}

/* Two files: "one" of the package p, with one of everything, and "two" without a package, which
 * extends a message of "one". */
static struct reflection_index *make_two(struct buf *set)
{
    struct buf file = {0};
    struct buf message = {0};
    struct buf inner = {0};
    struct buf other = {0};

    add(&inner, 2, "leaf", NULL);
    add(&message, 3, "Inner", &inner);
    add(&message, 2, "field", NULL);
    add(&other, 2, "HERE", NULL);
    add(&message, 4, "Kind", &other);
    add(&message, 8, "choice", NULL);
    add_extension(&message, 6, "nested", ".p.Open", 101);
    add_text(&file, 2, "p");
    add(&file, 4, "Outer", &message);
    add(&file, 4, "Open", NULL);
    add(&other, 2, "THERE", NULL);
    add(&file, 5, "Colour", &other);
    add(&other, 2, "Do", NULL);
    add(&file, 6, "Service", &other);
    add_extension(&file, 7, "late", ".p.Open", 1000);
    add(set, 1, "one", &file);
    add_text(&file, 3, "one");
    add_text(&file, 3, "nowhere");
    add(&file, 4, "Bare", NULL);
    add_extension(&file, 7, "early", ".p.Open", 7);
    add_extension(&file, 7, "relative", "q.Open", 7);
    add_extension(&file, 7, "smaller", ".p", 1);
    add(set, 1, "two", &file);
    return index_of(set);
}

/* Everything that has a name is found by it, and nothing else. */
START_TEST(reflection_index_finds_symbols)
{
    static const struct {
        const char *name;
        unsigned file;
    } symbols[] = {
        {"p.Outer", 0},        {"p.Outer.Inner", 0},  {"p.Outer.Inner.leaf", 0},
        {"p.Outer.field", 0},  {"p.Outer.Kind", 0},   {"p.Outer.HERE", 0},
        {"p.Outer.choice", 0}, {"p.Open", 0},         {"p.Colour", 0},
        {"p.THERE", 0},        {"p.Service", 0},      {"p.Service.Do", 0},
        {"p.late", 0},         {"p.Outer.nested", 0}, {"Bare", 1},
        {"early", 1},
    };

    static const char *const strange[] = {
        "",         "p",     "p.",      ".p.Outer",          "p.Outer.",       "p.Oute",
        "p.Outers", "Outer", "p.outer", "p.Outer.Kind.HERE", "p.Colour.THERE", "one",
        "zzz",      "p.Bare"};
    struct buf set = {0};
    struct reflection_index *index = make_two(&set);

    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        ck_assert_msg(reflection_index_symbol(index, bytes_from_text(symbols[i].name)) ==
                          symbols[i].file,
                      "%s", symbols[i].name);
    }
    for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
        ck_assert_msg(reflection_index_symbol(index, bytes_from_text(strange[i])) ==
                          REFLECTION_NO_FILE,
                      "%s", strange[i]);
    }
    reflection_index_free(index);
    buf_deinit(&set);
}

END_TEST

/* Extensions are known by type and number, those of one type together, by number. */
START_TEST(reflection_index_finds_extensions)
{
    struct buf set = {0};
    struct reflection_index *index = make_two(&set);
    const struct reflection_extension *all;
    size_t count;

    ck_assert_uint_eq(reflection_index_extension(index, TEXT("p.Open"), 101), 0);
    ck_assert_uint_eq(reflection_index_extension(index, TEXT("p.Open"), 1000), 0);
    ck_assert_uint_eq(reflection_index_extension(index, TEXT("p.Open"), 7), 1);
    ck_assert_uint_eq(reflection_index_extension(index, TEXT("q.Open"), 7), 1);
    ck_assert_uint_eq(reflection_index_extension(index, TEXT("p.Open"), 8), REFLECTION_NO_FILE);
    ck_assert_uint_eq(reflection_index_extension(index, TEXT("p.Open"), -7), REFLECTION_NO_FILE);
    ck_assert_uint_eq(reflection_index_extension(index, TEXT("p.Outer"), 7), REFLECTION_NO_FILE);
    all = reflection_index_extensions(index, TEXT("p.Open"), &count);
    ck_assert_uint_eq(count, 3);
    ck_assert_int_eq(all[0].number, 7);
    ck_assert_int_eq(all[1].number, 101);
    ck_assert_int_eq(all[2].number, 1000);
    (void)reflection_index_extensions(index, TEXT("p.Outer"), &count);
    ck_assert_uint_eq(count, 0);
    reflection_index_free(index);
    buf_deinit(&set);
}

END_TEST

/* A file brings what it imports, and what that imports, also in a circle; not what is not there. */
START_TEST(reflection_index_follows_imports)
{
    struct buf set = {0};
    struct buf file = {0};
    struct reflection_index *index;

    add_text(&file, 3, "b");
    add(&set, 1, "a", &file);
    add_text(&file, 3, "c");
    add_text(&file, 3, "missing");
    add(&set, 1, "b", &file);
    add(&set, 1, "c", NULL);
    add_text(&file, 3, "e");
    add(&set, 1, "d", &file);
    add_text(&file, 3, "d");
    add_text(&file, 3, "c");
    add(&set, 1, "e", &file);
    index = index_of(&set);
    ck_assert_uint_eq(reflection_index_imports(index, 0), 0x07);
    ck_assert_uint_eq(reflection_index_imports(index, 1), 0x06);
    ck_assert_uint_eq(reflection_index_imports(index, 2), 0x04);
    ck_assert_uint_eq(reflection_index_imports(index, 3), 0x1c);
    ck_assert_uint_eq(reflection_index_imports(index, 4), 0x1c);
    ck_assert_uint_eq(reflection_index_file(index, TEXT("e")), 4);
    ck_assert_uint_eq(reflection_index_file(index, TEXT("missing")), REFLECTION_NO_FILE);
    ck_assert_uint_eq(reflection_index_file(index, TEXT("")), REFLECTION_NO_FILE);
    reflection_index_free(index);
    buf_deinit(&set);
}

END_TEST

/* The entries one after the other are the set. */
START_TEST(reflection_index_gives_entries)
{
    struct reflection_index *index;
    size_t at = 0;

    ck_assert_int_eq(reflection_index_new(embedded_descriptors, &index), 0);
    for (unsigned i = 0; at < embedded_descriptors.size; i++) {
        struct bytes entry = reflection_index_entry(index, i);

        ck_assert_uint_lt(i, REFLECTION_FILES_MAX);
        ck_assert_ptr_eq(entry.data, embedded_descriptors.data + at);
        at += entry.size;
        ck_assert(entry.size > 0);
    }
    ck_assert_uint_eq(at, embedded_descriptors.size);
    reflection_index_free(index);
}

END_TEST

/* However a set is cut, it is read or refused, and nothing leaks. */
START_TEST(reflection_index_refuses_what_is_cut)
{
    struct reflection_index *index;
    unsigned refused = 0;

    for (size_t size = 0; size < embedded_descriptors.size; size++) {
        uint8_t *copy = malloc(size + 1);
        int result;

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, embedded_descriptors.data, size);
        result = reflection_index_new((struct bytes){copy, size}, &index);
        ck_assert(result == 0 || result == -EBADMSG);
        if (result == 0) {
            reflection_index_free(index);
        }
        refused += result != 0;
        free(copy);
    }
    ck_assert_uint_gt(refused, embedded_descriptors.size - REFLECTION_FILES_MAX);
}

END_TEST

/* More files than a number has bits are refused, and names beyond measure. */
START_TEST(reflection_index_has_limits)
{
    struct buf set = {0};
    struct buf file = {0};
    char name[514] = "";
    struct reflection_index *index;

    for (unsigned i = 0; i < REFLECTION_FILES_MAX; i++) {
        (void)snprintf(name, sizeof(name), "f%u", i);
        add(&set, 1, name, NULL);
    }
    index = index_of(&set);
    ck_assert_uint_eq(reflection_index_file(index, bytes_from_text("f63")), 63);
    ck_assert_uint_eq(reflection_index_imports(index, 63), 1ULL << 63);
    reflection_index_free(index);
    add(&set, 1, "one more", NULL);
    ck_assert_int_eq(reflection_index_new(buf_bytes(&set), &index), -EBADMSG);
    buf_deinit(&set);

    memset(name, 'n', 512);
    name[512] = '\0';
    add(&file, 4, name, NULL);
    add(&set, 1, "f", &file);
    reflection_index_free(index_of(&set));
    buf_deinit(&set);
    name[512] = 'n';
    add(&file, 4, name, NULL);
    add(&set, 1, "f", &file);
    ck_assert_int_eq(reflection_index_new(buf_bytes(&set), &index), -EBADMSG);
    buf_deinit(&set);
}

END_TEST

/* Of a message in a message in a message, the names end at that limit; the depth is no other. */
START_TEST(reflection_index_reads_deep_nesting)
{
    struct buf inner = {0};
    struct buf set = {0};
    struct reflection_index *index;

    for (unsigned depth = 0; depth < 256; depth++) {
        struct buf outer = {0};

        add(&outer, depth == 255 ? 4 : 3, "m", &inner);
        inner = outer;
    }
    add(&set, 1, "deep", &inner); /* m.m.m and so on: 511 bytes */
    index = index_of(&set);
    ck_assert_uint_eq(reflection_index_symbol(index, TEXT("m.m.m.m")), 0);
    reflection_index_free(index);
    buf_deinit(&set);
}

END_TEST

/* Nothing in it is an empty set, which finds nothing. */
START_TEST(reflection_index_may_be_empty)
{
    struct reflection_index *index;

    ck_assert_int_eq(reflection_index_new((struct bytes){0}, &index), 0);
    ck_assert_uint_eq(reflection_index_symbol(index, TEXT("")), REFLECTION_NO_FILE);
    ck_assert_uint_eq(reflection_index_file(index, TEXT("")), REFLECTION_NO_FILE);
    ck_assert_uint_eq(reflection_index_extension(index, TEXT(""), 0), REFLECTION_NO_FILE);
    reflection_index_free(index);
    reflection_index_free(NULL);
}

END_TEST

/* Whichever allocation fails, it says so, and nothing leaks: but for what qsort can do without. */
START_TEST(reflection_index_survives_no_memory)
{
    struct reflection_index *index = NULL;
    bool failed = true;
    unsigned refused = 0;

    for (unsigned nth = 1; failed; nth++) {
        int result;

        allocation_faults_arm(nth);
        result = reflection_index_new(embedded_descriptors, &index);
        failed = allocation_faults_disarm();
        ck_assert(result == 0 || (failed && result == -ENOMEM));
        refused += result != 0;
        if (result == 0) {
            ck_assert_uint_ne(reflection_index_symbol(index, TEXT("users.v1.User")),
                              REFLECTION_NO_FILE);
            reflection_index_free(index);
        }
    }
    ck_assert_uint_gt(refused, 5);
}

END_TEST

UNIT_MAIN("reflection_index", reflection_index_finds_symbols, reflection_index_finds_extensions,
          reflection_index_follows_imports, reflection_index_gives_entries,
          reflection_index_refuses_what_is_cut, reflection_index_has_limits,
          reflection_index_reads_deep_nesting, reflection_index_may_be_empty,
          reflection_index_survives_no_memory)
