/*
 * A program that makes calls through the public client library as its input says, for tests from
 * outside, and writes what became of them as lines of JSON. It uses include/userd/client.h alone.
 *
 *     client-driver --target TARGET [--NAME VALUE]...     options: client_driver.c
 *
 * Commands, a line each, are words of name=value after the command's own:
 *
 *     load calls=N in_flight=N rate=N writes=N id=ID prefix=TEXT   GetUser of ID again and again,
 * many at once; every `writes`th call is a CreateUser of PREFIX and its number instead. calls=0:
 * until `stop`; rate: a second, 0 = as fast as answers come stop                  begins no further
 * call get id=ID             create username=NAME email= password= request_id= update id=ID
 * first_name=TEXT etag=      delete id=ID etag=     list page_size=N filter=TEXT watch id=ID batch
 * count=N prefix=TEXT continue=1 taken_at=N    sync count=N prefix=TEXT raw path=PATH hex=DIGITS
 * check service=NAME (this one blocks) cancel tag=N, pause tag=N, resume tag=N     a call that was
 * begun with tag=N stats, connect, quit
 *
 * Every call takes tag=N, timeout_ms=N, wait=0|1, token=TEXT, field=NAME:VALUE too, and ends with
 * one line
 * {"event":"call", ...}. Streams tell each item: {"event":"state"|"reply"|"message", ...}.
 */
#ifndef CLIENT_DRIVER_H
#define CLIENT_DRIVER_H

#include <userd/client.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DRIVER_TAGS_MAX      256
#define DRIVER_WORDS_MAX     16
#define DRIVER_IN_FLIGHT_MAX 1000

/* One command, taken apart. */
struct words {
    const char *command;
    const char *names[DRIVER_WORDS_MAX];
    const char *values[DRIVER_WORDS_MAX];
    size_t count;
};

const char *words_text(const struct words *words, const char *name, const char *otherwise);
uint64_t words_number(const struct words *words, const char *name, uint64_t otherwise);

struct load;

/* NULL with a line on stderr. */
struct load *load_new(struct userd_client *client, const struct words *words);
/* Begins what is due. Returns in how many ms to ask again; UINT64_MAX = after the next answer. */
uint64_t load_step(struct load *load);
void load_stop(struct load *load);
/* Has said what came of it. */
bool load_is_over(const struct load *load);
void load_free(struct load *load);

/* Begins one call; true when the command is one of a call. */
bool calls_begin(struct userd_client *client, const struct words *words);
/* cancel, pause, resume. */
bool calls_meddle(const struct words *words);

/* Milliseconds since the start. */
double driver_now_ms(void);

/* A line of JSON: open, fields, close. */
void line_open(const char *event);
void line_text(const char *name, const char *value);
void line_number(const char *name, double value);
void line_close(void);
/* What became of a call: code, cause, attempts, backend, texts. */
void line_error(const struct userd_error *error);
void line_user(const struct userd_user *user);
void line_stats(const struct userd_client *client);
/* A line for each breaker whose state has changed since it was asked before. */
void line_breaker_changes(const struct userd_client *client);

#endif
