/*
 * Folding is the compatibility caseless match of the Unicode standard (3.13, D146), composed:
 *
 *   1. Decompose for compatibility and put marks in order, so that equivalent texts are one text.
 *   2. Replace every character by its case folding and its compatibility decomposition, again and
 *      again until nothing is left to replace; put marks in order.
 *   3. Compose.
 *
 * Step 1 matters for one mark alone, the Greek iota subscript U+0345: it folds into a letter, and
 * the marks behind it would then be marks of that letter.
 *
 * Folding twice changes nothing: step 1 undoes step 3, and what step 2 wrote has nothing to
 * replace. Nor does it change with the version of Unicode, which promises that for characters that
 * are assigned; texts with others are refused. Ignorable characters stay: names may not have them.
 *
 * Nearly all names are ASCII and pass by all of this.
 */
#include "service/user_fold.h"

#include <utf8proc.h>

/* What is folded already never decomposes into more: the worst are letters of two bytes, which
 * become three characters (U+0390). */
#define CHARACTERS_MAX (USER_FOLDED_BYTES_MAX / 2 * 3)

#define STEP_1 (UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_REJECTNA)
#define STEP_2 (UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD)
#define STEP_3 (UTF8PROC_STABLE | UTF8PROC_COMPOSE)

/* Characters as utf8proc reads and writes them; one more for the NUL that it puts behind. */
struct characters {
    utf8proc_int32_t items[CHARACTERS_MAX + 1];
};

static bool is_ascii(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

/* Printable ASCII, blanks included: nothing that hides, no mark, one direction. */
static bool is_plain(struct bytes text)
{
    bool plain = true;

    for (size_t i = 0; i < text.size; i++) {
        plain &= (uint8_t)(text.data[i] - 0x20) < 0x7f - 0x20;
    }
    return plain;
}

#define EACH_BYTE(byte) (0x0101010101010101ULL * (byte))

/* Sets the bit for small letters in each byte that is a capital one. Bytes are compared by the
 * carry into their upper bit; where that is set already, what comes out does not matter. */
static inline uint64_t fold_word(uint64_t word)
{
    uint64_t rest = word & EACH_BYTE(0x7f);
    uint64_t from_a = rest + EACH_BYTE(0x80 - 'A');
    uint64_t behind_z = rest + EACH_BYTE(0x80 - 'Z' - 1);

    return word | (((from_a ^ behind_z) & EACH_BYTE(0x80)) >> 2);
}

/* False, with anything in `out`, when there is more than ASCII in it. By eight bytes and without
 * branches: this is done twice for every user that a start reads. */
static bool fold_ascii(struct bytes text, uint8_t *out)
{
    uint64_t all = 0;
    uint64_t word;
    size_t at;

    for (at = 0; at + sizeof(word) <= text.size; at += sizeof(word)) {
        memcpy(&word, text.data + at, sizeof(word));
        all |= word;
        word = fold_word(word);
        memcpy(out + at, &word, sizeof(word));
    }
    for (; at < text.size; at++) {
        all |= text.data[at];
        out[at] = (uint8_t)fold_word(text.data[at]);
    }
    return (all & EACH_BYTE(0x80)) == 0;
}

/* Decomposes `text`, and writes the outcome as UTF-8 over the characters: `composition` says in
 * which form. The two may not overlap. Returns the UTF-8, or nothing when it cannot be done. */
static struct bytes convert(struct bytes text, struct characters *characters, int decomposition,
                            int composition)
{
    utf8proc_ssize_t count =
        utf8proc_decompose(text.data, (utf8proc_ssize_t)text.size, characters->items,
                           CHARACTERS_MAX, (utf8proc_option_t)decomposition);
    utf8proc_ssize_t size;

    if (count < 0 || count > CHARACTERS_MAX) {
        return (struct bytes){0};
    }
    size = utf8proc_reencode(characters->items, count, (utf8proc_option_t)composition);
    if (size < 0) {
        return (struct bytes){0};
    }
    return (struct bytes){(const uint8_t *)characters->items, (size_t)size};
}

static int fold_unicode(struct bytes text, uint8_t *out, size_t *ret_size)
{
    struct characters decomposed;
    struct characters folded;
    struct bytes result = convert(text, &decomposed, STEP_1, UTF8PROC_STABLE);

    if (result.size > 0) {
        result = convert(result, &folded, STEP_2, STEP_3);
    }
    if (result.size == 0 || result.size > USER_FOLDED_BYTES_MAX) {
        return USER_FOLD_E_UNFIT;
    }
    memcpy(out, result.data, result.size);
    *ret_size = result.size;
    return 0;
}

int user_fold(struct bytes text, uint8_t out[USER_FOLDED_BYTES_MAX], size_t *ret_size)
{
    if (text.size > USER_FOLDED_BYTES_MAX) {
        return USER_FOLD_E_UNFIT;
    }
    if (fold_ascii(text, out)) {
        *ret_size = text.size;
        return 0;
    }
    return fold_unicode(text, out, ret_size);
}

/* ---------------------------------------------------------------------------------- what is in it
 */

/* Takes the next character off the text. Returns -1 when there is none in UTF-8. */
static int32_t next_character(struct bytes *text)
{
    utf8proc_int32_t character;
    utf8proc_ssize_t size = utf8proc_iterate(text->data, (utf8proc_ssize_t)text->size, &character);

    if (size <= 0) {
        return -1;
    }
    *text = (struct bytes){text->data + size, text->size - (size_t)size};
    return character;
}

static bool is_noncharacter(int32_t character)
{
    return (character & 0xfffe) == 0xfffe || (character >= 0xfdd0 && character <= 0xfdef);
}

static bool is_control(int32_t character)
{
    return character < 0x20 || (character >= 0x7f && character <= 0x9f);
}

/* Separators of lines and paragraphs; embeddings, overrides and isolates of directions. */
static bool is_separator_or_embedding(int32_t character)
{
    return (character >= 0x2028 && character <= 0x202e) ||
           (character >= 0x2066 && character <= 0x2069);
}

/* What Unicode calls symbols and shows nothing, or nothing of what once stood there: the empty
 * Braille cell, the object and the character that got lost. */
static bool is_blank_symbol(int32_t character)
{
    return character == 0x2800 || character == 0xfffc || character == 0xfffd;
}

static enum user_fold_fault check_name_character(int32_t character)
{
    const utf8proc_property_t *property = utf8proc_get_property(character);

    if (property->ignorable || is_blank_symbol(character)) {
        return USER_FOLD_HIDDEN;
    }
    switch (property->category) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return USER_FOLD_HIDDEN;
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
        return USER_FOLD_UNASSIGNED;
    case UTF8PROC_CATEGORY_ZS:
        return character == ' ' ? USER_FOLD_FINE : USER_FOLD_SPACE;
    default:
        return USER_FOLD_FINE;
    }
}

static bool is_mark(int32_t character)
{
    utf8proc_category_t category = utf8proc_category(character);

    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
           category == UTF8PROC_CATEGORY_ME;
}

/* The run of marks that ends with this character, after one of `run` marks. */
static unsigned count_marks(unsigned run, int32_t character)
{
    return is_mark(character) ? run + 1 : 0;
}

static enum user_fold_fault check_characters(struct bytes name)
{
    bool is_first = true;
    unsigned marks = 0;

    while (name.size > 0) {
        int32_t character = next_character(&name);
        enum user_fold_fault fault;

        if (character < 0) {
            return USER_FOLD_MALFORMED;
        }
        fault = check_name_character(character);
        if (fault != USER_FOLD_FINE) {
            return fault;
        }
        marks = count_marks(marks, character);
        if (marks > USER_FOLD_MARKS_MAX || (is_first && marks > 0)) {
            return USER_FOLD_MARK;
        }
        is_first = false;
    }
    return USER_FOLD_FINE;
}

/* --------------------------------------------------------------------------------- the bidi rule
 */

#define CLASS(name) (1U << UTF8PROC_BIDI_CLASS_##name)

#define RIGHT_TO_LEFT (CLASS(R) | CLASS(AL) | CLASS(AN))

/* What either direction allows beside its letters and numbers. */
#define NEUTRAL (CLASS(ES) | CLASS(CS) | CLASS(ET) | CLASS(ON) | CLASS(BN) | CLASS(NSM))

/* What one part of a name is made of, as a set of bidi classes. */
struct directions {
    unsigned all;
    unsigned first;
    unsigned last; /* but marks */
};

static unsigned class_of(int32_t character)
{
    return 1U << (unsigned)utf8proc_get_property(character)->bidi_class;
}

/* Takes the part up to the next space off the name, the space too. */
static struct directions next_part(struct bytes *name)
{
    struct directions part = {0};

    while (name->size > 0) {
        int32_t character = next_character(name);
        unsigned class;

        if (character == ' ') {
            break;
        }
        class = class_of(character);
        part.all |= class;
        part.first = part.first == 0 ? class : part.first;
        part.last = class == CLASS(NSM) ? part.last : class;
    }
    return part;
}

/* The six conditions of RFC 5893, section 2; nothing is fine. */
static bool obeys_bidi_rule(const struct directions *part)
{
    switch (part->first) {
    case 0:
        return true;
    case CLASS(L):
        return (part->all & ~(CLASS(L) | CLASS(EN) | NEUTRAL)) == 0 &&
               (part->last & (CLASS(L) | CLASS(EN))) != 0;
    case CLASS(R):
    case CLASS(AL):
        return (part->all & ~(RIGHT_TO_LEFT | CLASS(EN) | NEUTRAL)) == 0 &&
               (part->last & (RIGHT_TO_LEFT | CLASS(EN))) != 0 &&
               (part->all & (CLASS(EN) | CLASS(AN))) != (CLASS(EN) | CLASS(AN));
    default:
        return false;
    }
}

static enum user_fold_fault check_directions(struct bytes name)
{
    unsigned all = 0;
    bool is_fine = true;

    while (name.size > 0) {
        struct directions part = next_part(&name);

        all |= part.all;
        is_fine = is_fine && obeys_bidi_rule(&part);
    }
    return is_fine || (all & RIGHT_TO_LEFT) == 0 ? USER_FOLD_FINE : USER_FOLD_DIRECTION;
}

static enum user_fold_fault check_form(struct bytes name)
{
    enum user_fold_fault fault;

    if (is_plain(name)) {
        return USER_FOLD_FINE;
    }
    fault = check_characters(name);
    return fault == USER_FOLD_FINE ? check_directions(name) : fault;
}

enum user_fold_fault user_fold_check_name(struct bytes name)
{
    uint8_t bytes[USER_FOLDED_BYTES_MAX];
    struct bytes folded = {bytes, 0};
    enum user_fold_fault fault = check_form(name);

    if (fault != USER_FOLD_FINE) {
        return fault;
    }
    /* All its characters are assigned and it is UTF-8: it can only be too long. */
    if (user_fold(name, bytes, &folded.size) != 0) {
        return USER_FOLD_LONG;
    }
    if (folded.size > 0 && (bytes[0] == ' ' || bytes[folded.size - 1] == ' ')) {
        return USER_FOLD_SPACE;
    }
    return is_ascii(name) ? USER_FOLD_FINE : check_form(folded);
}

enum user_fold_fault user_fold_check_text(struct bytes text)
{
    unsigned marks = 0;

    if (is_plain(text)) {
        return USER_FOLD_FINE;
    }
    while (text.size > 0) {
        int32_t character = next_character(&text);

        if (character < 0) {
            return USER_FOLD_MALFORMED;
        }
        if (is_noncharacter(character)) {
            return USER_FOLD_UNASSIGNED;
        }
        if (is_control(character) || is_separator_or_embedding(character)) {
            return USER_FOLD_HIDDEN;
        }
        marks = count_marks(marks, character);
        if (marks > USER_FOLD_MARKS_MAX) {
            return USER_FOLD_MARK;
        }
    }
    return USER_FOLD_FINE;
}
