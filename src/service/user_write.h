/*
 * One change of a user on its way: plan, log, apply, tell.
 *
 * Owns:    its reservations in the store, its record, the copy of the password.
 * Borrows: the texts, the patch and the user of the request, until the write is freed.
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_WRITE_H
#define SERVICE_USER_WRITE_H

#include "core/buf.h"
#include "core/list.h"
#include "service/commit_log.h"
#include "service/password.h"
#include "service/user_durability.h"
#include "service/user_id.h"
#include "service/user_patch.h"
#include "service/user_store.h"
#include "service/user_validate.h"

#include <stdbool.h>

struct clock_source;
struct workpool;

/* What the writes of one store share. */
struct user_writer {
    struct user_store *store;
    struct commit_log *log; /* NULL until it has started */
    struct workpool *pool;
    struct clock_source *clock;
    struct user_id_source ids;
    struct password_cost cost;
    struct user_durability durability; /* of what was answered */
    struct user_write *stuck;          /* writes with unknown outcome: their names stay reserved */
    unsigned live_count;               /* writes made and not freed */
    bool log_failed;                   /* set by the owner: changes are refused, reads go on */
};

enum user_write_kind {
    USER_WRITE_CREATE,
    USER_WRITE_UPDATE,
    USER_WRITE_DELETE,
    USER_WRITE_SYNC, /* create or replace, by id */
};

enum user_write_outcome {
    USER_WRITE_ON_ITS_WAY, /* from user_write_start() only: `done` will run */
    USER_WRITE_DONE,       /* durable and visible; `entry` is the user, but for a delete */
    USER_WRITE_NOT_FOUND,
    USER_WRITE_STALE, /* the etag is not the present one */
    USER_WRITE_USERNAME_TAKEN,
    USER_WRITE_EMAIL_TAKEN,
    USER_WRITE_TOO_MANY_USERS, /* store.max_users */
    USER_WRITE_CROWDED,        /* too many wait for a change of this user */
    USER_WRITE_HASH_FULL,      /* too many passwords wait to be hashed */
    USER_WRITE_NO_MEMORY,
    USER_WRITE_CANCELLED, /* nobody wanted it any more before it was submitted */
    /* What the log said; only with UNKNOWN may there be an effect. */
    USER_WRITE_CONFLICT,
    USER_WRITE_UNKNOWN,
    USER_WRITE_NOT_SENT,
    USER_WRITE_LOG_FULL,
    USER_WRITE_LOG_SLOW,
    USER_WRITE_NO_SPACE,
    USER_WRITE_TOO_LARGE,
};

enum user_write_state {
    USER_WRITE_STATE_NEW,
    USER_WRITE_STATE_WAITING,   /* behind another change of the same user */
    USER_WRITE_STATE_HASHING,   /* its names are reserved */
    USER_WRITE_STATE_READY,     /* to be submitted when its owner says so */
    USER_WRITE_STATE_SUBMITTED, /* the log has it: it can no more be taken back */
    USER_WRITE_STATE_ENDED,
    USER_WRITE_STATE_STUCK, /* ended with unknown outcome */
};

struct user_write {
    struct list link;              /* among the waiters of another write */
    struct user_write *next_stuck; /* behind this one in writer->stuck */
    struct user_writer *writer;
    enum user_write_kind kind;
    enum user_write_state state;
    void (*done)(struct user_write *write, enum user_write_outcome outcome);
    /* Of an ordered write: it may have left WAITING, has become READY, or is so again because the
     * log was full. From the loop; also from inside submit, cancel or `done` of another write. */
    void (*moved)(struct user_write *write);
    void *owner;
    bool is_ordered; /* it stops at READY, until user_write_submit() */
    bool unwanted;
    /* The request. */
    struct user_draft draft;        /* of a create; without the password */
    struct bytes id;                /* of the others; of a sync it may be empty: a new user */
    struct bytes etag;              /* precondition; may be empty */
    const struct user_patch *patch; /* of an update */
    const struct user *user;        /* of a sync; without its id and etag */
    /* The work. */
    struct password_job password;
    char new_id[USER_ID_SIZE];
    char new_etag[USER_ETAG_SIZE];
    struct user_change change;
    struct commit_mutation mutation;
    struct buf record;
    struct list waiters; /* writes that begin anew when this one has ended */
    unsigned waiter_count;
    const struct user_entry *entry; /* with DONE; valid until control returns to the loop */
};

#define USER_WRITE_WAITERS_MAX 64

/* A writer is filled in by its owner and needs no other start. All writes must have been freed. */
void user_writer_deinit(struct user_writer *writer);

/* Makes a write. `done` runs once, from the loop, when user_write_start() said ON_ITS_WAY; it may
 * free the write. NULL when out of memory. */
struct user_write *user_write_new(struct user_writer *writer, enum user_write_kind kind,
                                  void (*done)(struct user_write *write,
                                               enum user_write_outcome outcome),
                                  void *owner);

/* Fills in a create; the password is copied, the other texts are borrowed. Returns 0 or -ENOMEM. */
int user_write_set_draft(struct user_write *write, const struct user_draft *draft);

/* Makes the write an ordered one, before it is started: what is submitted, and when, is its owner's
 * matter. A full log is nothing to it: it becomes READY again, with all that it has reserved. */
void user_write_set_ordered(struct user_write *write, void (*moved)(struct user_write *write));

/* Sets out. Returns ON_ITS_WAY, or the outcome when it is known already: then `done` does not run.
 * A write that was refused before it was HASHING or READY, here or by `done`, may set out again. */
enum user_write_outcome user_write_start(struct user_write *write);

/* Hands an ordered write that is READY to the log. Returns as user_write_start() does. Writes that
 * waited for one that fails here go on inside. */
enum user_write_outcome user_write_submit(struct user_write *write);

/* Nobody wants the answer any more: the write ends as CANCELLED, by `done`, unless it was
 * submitted. The change stays then, and `done` tells of it as ever. The names of a create that is
 * being hashed are free at once. One that is READY ends at once: `done` runs inside. */
void user_write_cancel(struct user_write *write);

/* The id of the user that is written: the one asked for, or the one given. */
static inline struct bytes user_write_id(const struct user_write *write)
{
    bool is_asked_for = write->kind != USER_WRITE_CREATE && write->id.size > 0;

    return is_asked_for ? write->id : bytes_from_text(write->new_id);
}

/* The write must not be on its way. NULL is fine. */
void user_write_free(struct user_write *write);

#endif
