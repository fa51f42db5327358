/*
 * A user as fields, and its two forms in bytes: the users.v1.User that clients get, and the record
 * that the log keeps. Pure.
 *
 * Owns:    nothing.
 * Borrows: every text of a struct user or user_record points into what it was read from.
 * Thread:  any.
 */
#ifndef SERVICE_USER_RECORD_H
#define SERVICE_USER_RECORD_H

#include "core/buf.h"
#include "core/bytes.h"

#include <stddef.h>
#include <stdint.h>

/* What a record says; also the record_type of a mutation. Numbers on disk: never reused. */
enum user_record_type {
    USER_RECORD_PUT = 1,    /* a StoredUser: the whole user after the change */
    USER_RECORD_DELETE = 2, /* a StoredUser that holds only id and etag: the tombstone */
    /* StoredCounters: of no user. First in a snapshot, whose users may not show how far counting
     * went; in the log where numbers are left out. */
    USER_RECORD_COUNTERS = 3,
};

/* The numbers of users.v1.UserStatus. */
enum user_status {
    USER_STATUS_UNSPECIFIED = 0,
    USER_STATUS_ACTIVE = 1,
    USER_STATUS_INACTIVE = 2,
    USER_STATUS_SUSPENDED = 3,
    USER_STATUS_DELETED = 4, /* never stored */
};

#define USER_ROLES_MAX 64

struct user {
    struct bytes id;
    struct bytes username;
    struct bytes email;
    int64_t created_at; /* ms since 1970 */
    size_t role_count;  /* above USER_ROLES_MAX: there were more, and only so many are kept */
    int32_t status;     /* enum user_status, or a number from a client that is none */
    struct bytes first_name;
    struct bytes last_name;
    struct bytes avatar_url;
    int64_t updated_at; /* ms since 1970 */
    struct bytes etag;
    struct bytes roles[USER_ROLES_MAX]; /* of most users there are few: last, so that reading one
                                         * leaves the rest as it is */
};

struct user_record {
    struct bytes message; /* the packed users.v1.User */
    struct bytes password_hash;
    struct bytes request_id;
    uint64_t sequence; /* place in the order of creation */
    uint64_t change;   /* number of the change that wrote it: what the etag says */
    struct user user;  /* the message, read */
};

/* How far counting has come. */
struct user_counters {
    uint64_t change;    /* number of the last change */
    int64_t created_at; /* greatest time of creation, ms; no user gets a lesser one */
};

/* Bytes of a user up to its last role: so many are worth copying, and need be there. */
size_t user_used_size(const struct user *user);

/* Reads a packed users.v1.User in place. Unknown fields are passed over, the last value wins.
 * Returns 0 or -EBADMSG. */
int user_record_read_user(struct bytes message, struct user *ret_user);

/* Appends the packed users.v1.User, always the same bytes for the same fields. A profile without
 * any text is left out. Returns 0 or -ENOMEM. */
int user_record_append_user(const struct user *user, struct buf *out);

/* Reads the record of a PUT or DELETE in place and checks that it has what its type needs. Returns
 * 0 or -EBADMSG, the latter also for any other type. */
int user_record_read(uint8_t type, struct bytes body, struct user_record *ret_record);

/* Appends a record from message, password_hash, request_id and sequence. Returns 0 or -ENOMEM. */
int user_record_append(const struct user_record *record, struct buf *out);

/* The same for USER_RECORD_COUNTERS. */
int user_record_read_counters(struct bytes body, struct user_counters *ret_counters);
int user_record_append_counters(const struct user_counters *counters, struct buf *out);

#define USER_ETAG_SIZE 19 /* with its NUL */

/* Writes the etag of a change, quotes included (RFC 7232). Returns its length. */
size_t user_record_format_etag(uint64_t change, char out[USER_ETAG_SIZE]);

#endif
