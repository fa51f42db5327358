/*
 * A bearer token in a file that somebody may replace: read again when the file has changed, looked
 * at once a second at most, and only when a call wants it.
 *
 * The read is a blocking one of a small local file, as with certificates. A file that has become
 * unreadable or empty keeps the last good token until it is back; the problem is kept for messages.
 * Who replaces it does so by rename: a file that is written in place may be read half-written, and
 * is read again a second later. What is no regular file (a pipe) is read once, at first, and may
 * make that wait; what is none later is not read. "-" is refused: the program's standard input is
 * not ours to read.
 *
 * Owns:    the token (wiped when it is replaced or freed), the path's copy.
 * Borrows: nothing.
 * Thread:  one at a time.
 */
#ifndef CLIENT_TOKEN_FILE_H
#define CLIENT_TOKEN_FILE_H

#include <stdint.h>

#define TOKEN_FILE_SIZE_MAX     65536
#define TOKEN_FILE_PROBLEM_SIZE 512

struct token_file;

/* Reads it for the first time. Blanks and line ends around the token are dropped; it is one word of
 * ASCII. Returns 0 or negative errno with `problem` (TOKEN_FILE_PROBLEM_SIZE bytes) naming file and
 * remedy: -EINVAL when there is no such word in it or it is "-", -EFBIG when it is larger than
 * TOKEN_FILE_SIZE_MAX. */
int token_file_new(const char *path, uint64_t now_ns, char *problem, struct token_file **ret_file);

/* The token at present; borrowed until the next call with this file. Never NULL. */
const char *token_file_token(struct token_file *file, uint64_t now_ns);

/* Why the last look at the file failed; "" when it did not. */
const char *token_file_problem(const struct token_file *file);

/* NULL is fine. */
void token_file_free(struct token_file *file);

#endif
