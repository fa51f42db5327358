/*
 * Drives the store, the log behind it and its snapshots as one, as user_service.c wires them, with
 * many random changes on their way, and keeps a model beside it: what was sent, what was told, and
 * at the next start whether exactly that is there.
 *
 * Owns:    store, log and snapshots while they are open, changes on their way, the model.
 * Borrows: the world.
 * Thread:  one.
 */
#ifndef TESTS_LIB_STORE_DRIVER_H
#define TESTS_LIB_STORE_DRIVER_H

#include "lib/fake_world.h"
#include "lib/user_model.h"

#include "core/buf.h"
#include "core/wal.h"
#include "service/commit_log.h"
#include "service/user_change.h"
#include "service/user_snapshot.h"
#include "service/user_store.h"

#include <stdbool.h>
#include <stdint.h>

#define STORE_DRIVER_FLYING_MAX 24

struct store_driver;

/* One change on its way. */
struct store_driver_flight {
    struct store_driver *driver;
    bool active;
    bool submitted;
    uint8_t type; /* enum user_record_type */
    unsigned id;
    uint64_t lsn; /* 0 = the log did not take it */
    struct user_model_user after;
    struct user_change change;
    struct commit_mutation mutation;
    struct buf record;
};

struct store_driver_tally {
    uint64_t told;
    uint64_t unknown; /* the log failed under them */
    uint64_t refused; /* certainly without effect */
    uint64_t snapshots_done;
    uint64_t snapshots_failed;
    uint64_t segments_removed;
    uint64_t kept_max;  /* bytes of old forms, the most there ever were */
    uint64_t kept_over; /* snapshots given up for that */
    uint64_t skips;     /* starts that left numbers out */
    uint64_t notices;
    uint64_t replayed;
    uint64_t loaded; /* from snapshots */
};

struct store_driver {
    struct fake_world *world;
    struct wal_options options;
    uint64_t max_kept;
    bool may_lose_snapshots; /* the disk may damage one right after it was checked */
    uint32_t size_usual;     /* of the long text of a user, at most */
    uint32_t size_max;       /* of one in ten */

    struct user_store *store; /* NULL = not open */
    struct user_snapshot *snapshot;
    struct commit_log *log;
    enum commit_log_state state;
    bool has_failed;  /* FAILED was told in this life, while there was a disk */
    bool is_risky;    /* what was told unsynced may be gone since the last start that brought it */
    bool is_interval; /* changes are told unsynced in this life */
    char problem[WAL_PROBLEM_SIZE];

    struct user_model model;
    struct user_model_state now; /* as told */
    uint64_t told;               /* highest LSN told as done */
    uint64_t durable;            /* highest LSN that the log has called durable */
    uint64_t least;              /* highest LSN that the next start must bring */
    uint64_t never;              /* least LSN told as without effect; 0 = none */
    uint64_t change_told;        /* greatest number told; no later one may be less */
    struct store_driver_flight flights[STORE_DRIVER_FLYING_MAX];

    uint64_t recovered; /* LSN reached at the last start */
    bool may_have_lost; /* what the last start said */
    uint64_t revision_seen;
    struct store_driver_tally tally;
    const char *wrong; /* the first thing that must not be; NULL = all is well */
};

/* What a start brought, against the model. */
enum store_driver_verdict {
    STORE_DRIVER_EXACT,
    STORE_DRIVER_LOST,  /* a state of before: something is missing that must be there */
    STORE_DRIVER_GHOST, /* something is there that was never sent, or was told as without effect */
    STORE_DRIVER_WRONG, /* no state that ever was */
};

/* Small segments, generous limits. */
void store_driver_init(struct store_driver *driver, struct fake_world *world);

/* Everything must be closed. */
void store_driver_deinit(struct store_driver *driver);

/* A fresh model, for a fresh disk. */
void store_driver_forget(struct store_driver *driver);

/* Starts store and log. Returns what the log's start does. */
int store_driver_open(struct store_driver *driver);

/* After a start: compares all there is with the model. `wrong` says what is not so. */
enum store_driver_verdict store_driver_judge(struct store_driver *driver);

/* After that: what did not survive is forgotten, what did must be there from now on; changes may
 * be made. */
void store_driver_accept(struct store_driver *driver);

/* Makes a random change, or submits one that waits, when there is room. */
void store_driver_change(struct store_driver *driver);

/* Asks for a snapshot. */
void store_driver_snapshot(struct store_driver *driver);

/* One turn of the loop, after some time. */
void store_driver_turn(struct store_driver *driver, uint64_t ns);

/* Turns until nothing waits and no snapshot runs; sets `wrong` when that does not happen. */
void store_driver_settle(struct store_driver *driver);

/* Closes, whatever it takes; sets `wrong` when that does not end as it must. */
void store_driver_close(struct store_driver *driver);

/* How the process ended, so that `least` is known. Before restart, after the close. */
void store_driver_note_end(struct store_driver *driver, bool power_lost);

/* Reads every snapshot on the disk, on its own, and compares it with the model at its LSN. Nothing
 * may be open. Returns how many there are. */
unsigned store_driver_audit(struct store_driver *driver);

/* Between the parts of the driver. */

void store_driver_blame(struct store_driver *driver, const char *what);

/* Numbers that were told may be lost: so many are left out, and that is logged. */
void store_driver_skip_numbers(struct store_driver *driver);

/* What it reserved is free again. */
void store_driver_end_flight(struct store_driver_flight *flight);

#endif
