/*
 * A disk in memory that does all that a real one may: what was written but not synced can be lost
 * at a crash, sector by sector, or be half there; operations fail, come late and out of order; and
 * when it is told to, it lies.
 *
 * Owns:    the files' contents, which outlive every crash.
 * Borrows: the reactor, operations until their `done`.
 * Thread:  the reactor's.
 */
#ifndef TESTS_LIB_FAKE_DISK_H
#define TESTS_LIB_FAKE_DISK_H

#include "core/disk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_disk;

#define FAKE_DISK_SECTOR_SIZE 512

/* One step of an operation: what may fail, and what is counted. disk_op's write_synced is a WRITE
 * and, if that succeeds, a SYNC. */
enum fake_disk_kind {
    FAKE_DISK_OPEN,
    FAKE_DISK_READ,
    FAKE_DISK_WRITE,
    FAKE_DISK_SYNC,
    FAKE_DISK_RENAME,
    FAKE_DISK_REMOVE,
    FAKE_DISK_SYNC_DIRECTORY,
    FAKE_DISK_LIST,
    FAKE_DISK_SIZE,
    FAKE_DISK_SUBMIT, /* an asynchronous operation is not even taken */
    FAKE_DISK_ANY,    /* all of these together */
};

/* What the disk does wrong and calls right. */
enum fake_disk_lie {
    FAKE_DISK_WRITE_LOST,        /* it is nowhere */
    FAKE_DISK_WRITE_MISDIRECTED, /* it went to another place of the file, or to another file */
    FAKE_DISK_WRITE_TORN,        /* half of one sector stayed as it was */
    FAKE_DISK_READ_STALE,        /* one block as it was before the last write */
};

/* `reactor` may be NULL: then asynchronous operations are refused with -EOPNOTSUPP. Aborts when out
 * of memory. */
struct fake_disk *fake_disk_new(struct reactor *reactor, uint64_t seed);

/* What a crash leaves, and everything else that is drawn, is drawn from this seed from now on. */
void fake_disk_reseed(struct fake_disk *fake, uint64_t seed);

/* Nothing may be pending or open. NULL is fine. */
void fake_disk_free(struct fake_disk *fake);

/* What the code under test gets. Its `free` leaves the contents alone. */
struct disk *fake_disk_disk(struct fake_disk *fake);

/* The `nth` operation of the kind from now (1 = the next) fails with `error`, a negative errno;
 * with `sticky`, so do all later ones. A failing write may have reached some of its sectors, or the
 * first of them (a short write), a failing read some of its bytes; after a failing sync the data
 * looks written until the process ends, and a further sync succeeds. */
void fake_disk_fail(struct fake_disk *fake, enum fake_disk_kind kind, unsigned nth, int error,
                    bool sticky);

/* The `nth` write that succeeds (for READ_STALE: read), from now, is a lie; one at a time. */
void fake_disk_lie(struct fake_disk *fake, enum fake_disk_lie lie, unsigned nth);
unsigned fake_disk_lies_told(const struct fake_disk *fake);

/* The power fails at the `nth` operation of any kind from now: before it has any effect, or after
 * all of it but before anybody is told. As fake_disk_crash(). */
void fake_disk_cut(struct fake_disk *fake, unsigned nth, bool after);

/* The same for the process alone, as fake_disk_kill(). */
void fake_disk_kill_at(struct fake_disk *fake, unsigned nth, bool after);

/* Nothing of all this is planned any more. */
void fake_disk_fail_nothing(struct fake_disk *fake);

/* How many operations of the kind have run so far. */
unsigned fake_disk_count(const struct fake_disk *fake, enum fake_disk_kind kind);

/* All files together may take so many bytes (UINT64_MAX at first); beyond it, -ENOSPC. */
void fake_disk_set_room(struct fake_disk *fake, uint64_t bytes);
/* The same for this user: beyond it, -EDQUOT. */
void fake_disk_set_quota(struct fake_disk *fake, uint64_t bytes);
uint64_t fake_disk_used(const struct fake_disk *fake);

/* An asynchronous sync is of what was written before it was submitted, and of nothing later. With
 * `hold`, asynchronous operations wait for fake_disk_step() or for who waits for them; without,
 * they end in the turn in which they were submitted. */
void fake_disk_hold(struct fake_disk *fake, bool hold);

unsigned fake_disk_pending(const struct fake_disk *fake);

/* Whether the index-th of the pending ones (0 = oldest) is of this kind: of write_synced, WRITE. */
bool fake_disk_pending_is(const struct fake_disk *fake, unsigned index, enum fake_disk_kind kind);

/* The index-th pending operation ends at the end of this turn (or of the next one). */
void fake_disk_step(struct fake_disk *fake, unsigned index);

/* The power fails: what survives is chosen now. From here on everything fails with -EIO and has no
 * effect, so that whoever uses the disk can be closed in the usual way. */
void fake_disk_crash(struct fake_disk *fake);

/* The process is killed: the same, but the machine runs on. What was written but not synced is
 * still there and can still be lost at a later crash. */
void fake_disk_kill(struct fake_disk *fake);

/* Whether power or process are gone. */
bool fake_disk_is_dead(const struct fake_disk *fake);

/* The power, or the process, is back; nothing may be pending or open. Plans of failures are
 * forgotten. */
void fake_disk_restart(struct fake_disk *fake);

/* Looking and meddling, past all faults. The file must exist, except for fake_disk_exists(). */
bool fake_disk_exists(const struct fake_disk *fake, const char *name);
const uint8_t *fake_disk_peek(const struct fake_disk *fake, const char *name, uint64_t *ret_size);
void fake_disk_poke(struct fake_disk *fake, const char *name, uint64_t offset, const void *bytes,
                    size_t size);
void fake_disk_truncate(struct fake_disk *fake, const char *name, uint64_t size);
void fake_disk_flip(struct fake_disk *fake, const char *name, uint64_t bit);
void fake_disk_zero(struct fake_disk *fake, const char *name, uint64_t offset, size_t size);
void fake_disk_delete(struct fake_disk *fake, const char *name);
/* Makes or replaces a file. */
void fake_disk_put(struct fake_disk *fake, const char *name, const void *bytes, size_t size);
void fake_disk_copy(struct fake_disk *fake, const char *name, const char *new_name);
unsigned fake_disk_name_count(const struct fake_disk *fake);
const char *fake_disk_name(const struct fake_disk *fake, unsigned index);

#endif
