/*
 * What the tools print of users and files, none of which may drive a terminal: texts as they are,
 * and JSON.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_COMMON_JSON_H
#define TOOLS_COMMON_JSON_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define COMMON_JSON_WHOLE_REAL_MAX 9007199254740992.0 /* up to 2^53 a double is exact */

/* A text as it is, but for control bytes and what is not UTF-8: these are shown as \xNN. */
void common_json_plain(FILE *out, struct bytes text);

/* A JSON string with its quotes. Control bytes are shown as \uNNNN. */
void common_json_quote(FILE *out, struct bytes text);

/* One JSON value in the making, on one line. A `name` of NULL is for the members of lists. */
struct common_json {
    FILE *out;
    bool needs_comma;
};

void common_json_open(struct common_json *json, const char *name);      /* { */
void common_json_close(struct common_json *json);                       /* } */
void common_json_open_list(struct common_json *json, const char *name); /* [ */
void common_json_close_list(struct common_json *json);                  /* ] */
void common_json_end_line(struct common_json *json);
void common_json_text(struct common_json *json, const char *name, struct bytes text);
void common_json_member(struct common_json *json, const char *name,
                        struct bytes text); /* left out when empty */
void common_json_words(struct common_json *json, const char *name, const char *words);
void common_json_number(struct common_json *json, const char *name, uint64_t number);
/* In quotes, as protobuf has 64-bit numbers. */
void common_json_int64(struct common_json *json, const char *name, int64_t number);
void common_json_int64_member(struct common_json *json, const char *name,
                              int64_t number);                     /* left out when 0 */
void common_json_status(struct common_json *json, int32_t status); /* of a user; left out when 0 */
void common_json_bool(struct common_json *json, const char *name, bool value);
void common_json_null(struct common_json *json, const char *name);

#endif
