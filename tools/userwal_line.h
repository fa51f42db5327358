/*
 * A line of an import: one User, with password_hash and request_id beside its fields, that obeys
 * the rules; see common_read.h.
 *
 * Owns:    the parsed line, which the user points into.
 * Borrows: the line, for the call.
 * Thread:  one.
 */
#ifndef TOOLS_USERWAL_LINE_H
#define TOOLS_USERWAL_LINE_H

#include "common_read.h"
#include "service/user_record.h"

#define USERWAL_LINE_PROBLEM_SIZE COMMON_READ_PROBLEM_SIZE

struct userwal_line {
    struct user user;
    struct bytes password_hash;
    struct bytes request_id;
    struct common_read read;
};

/* Parses, and checks by the rules of the server what does not depend on other users: fields, the
 * form of the hash. Returns 0; or 1 with `problem` saying why, without any value of the line in it.
 * userwal_line_deinit() is needed in any case. */
int userwal_line_read(struct bytes line, char problem[USERWAL_LINE_PROBLEM_SIZE],
                      struct userwal_line *ret_line);
void userwal_line_deinit(struct userwal_line *line);

#endif
