/*
 * INI text to (section, key, value, line) callbacks, by libinih.
 *
 * Owns, borrows: nothing after the call.
 * Thread:  one at a time (libinih keeps its settings in globals).
 */
#ifndef CORE_INI_H
#define CORE_INI_H

#define INI_E_STOPPED 1 /* the callback said so */
#define INI_E_SYNTAX  2 /* *ret_line is the bad line */

/* `value` is trimmed; NUL-terminated, borrowed for the call. Non-zero stops the reading. */
typedef int (*ini_entry_fn)(void *context, const char *section, const char *key, const char *value,
                            int line);

/* Reads a whole file (at most 1 MiB, lines under 8 KiB). Returns 0, INI_E_*, or negative errno of
 * opening it. `*ret_line` is set with INI_E_SYNTAX and INI_E_STOPPED. */
int ini_read_file(const char *path, ini_entry_fn entry, void *context, int *ret_line);

/* The same for text in memory. */
int ini_read_text(const char *text, ini_entry_fn entry, void *context, int *ret_line);

#endif
