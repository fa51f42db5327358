/*
 * The form in which usernames and e-mail addresses are compared, and the characters they may have:
 * after PRECIS (RFC 8264, RFC 8265), with the Unicode tables of utf8proc. Pure.
 *
 * What folding equates: upper and lower case, composed and decomposed letters, and the variants
 * that Unicode keeps for compatibility alone (full width, ligatures, superscripts). What it does
 * not: letters of two scripts that look the same, such as Latin and Cyrillic `a` (UTS 39). Who lets
 * strangers choose names decides about those outside.
 *
 * Owns, borrows: nothing.
 * Thread:  any.
 */
#ifndef SERVICE_USER_FOLD_H
#define SERVICE_USER_FOLD_H

#include "core/bytes.h"

#include <stddef.h>
#include <stdint.h>

#define USER_FOLDED_BYTES_MAX 512 /* of one name; a valid name never folds into more */

#define USER_FOLD_E_UNFIT 1 /* not UTF-8, unassigned characters, or it would be too long */

/* Writes the folded form. Folding it again gives the same bytes. A text of more than
 * USER_FOLDED_BYTES_MAX bytes is unfit by itself. Returns 0 or USER_FOLD_E_UNFIT. */
int user_fold(struct bytes text, uint8_t out[USER_FOLDED_BYTES_MAX], size_t *ret_size);

/* More marks in a row are no writing: they cover what stands around them, and take long to sort.
 * The number is that of the Stream-Safe Text Format (UAX 15). */
#define USER_FOLD_MARKS_MAX 30

/* What is wrong with a text. */
enum user_fold_fault {
    USER_FOLD_FINE,
    USER_FOLD_MALFORMED,  /* not UTF-8 */
    USER_FOLD_HIDDEN,     /* controls, and whatever else shows nothing or turns the direction */
    USER_FOLD_UNASSIGNED, /* unassigned, private or no character at all */
    USER_FOLD_SPACE,      /* another space than U+0020, or one at an end of the folded form */
    USER_FOLD_MARK,       /* begins with a combining mark, or has too many in a row */
    USER_FOLD_DIRECTION,  /* breaks the bidi rule of RFC 5893, section 2 */
    USER_FOLD_LONG,       /* folds into more than USER_FOLDED_BYTES_MAX bytes */
};

/* The rule for names, without a limit on characters: none of the faults above, neither in the name
 * nor in its folded form. A name that is fine folds. Parts between spaces obey the bidi rule each,
 * once one of them has characters that are written from right to left. */
enum user_fold_fault user_fold_check_name(struct bytes name);

/* The rule for texts that are only shown: no controls, no separators of lines, no embedding,
 * override or isolate of directions, whose effect could reach beyond the text, no noncharacters,
 * not too many marks in a row; UTF-8. Joiners (ZWJ, ZWNJ) and direction marks are part of how names
 * in some scripts are written, and Unicode may have grown since our tables: they are fine here. */
enum user_fold_fault user_fold_check_text(struct bytes text);

#endif
