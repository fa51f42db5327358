/*
 * CONTROL.a and CONTROL.b: the watermark that says, apart from the log, how far the log was
 * durable. Inside of the log; nobody else includes it.
 *
 * Owns:    the two files, one block of memory.
 * Borrows: the disk.
 * Thread:  loop only.
 */
#ifndef CORE_WAL_CONTROL_H
#define CORE_WAL_CONTROL_H

#include "core/disk.h"
#include "core/wal_format.h"

#include <stdbool.h>
#include <stdint.h>

#define WAL_CONTROL_E_MIXED 3 /* both files are whole, but of different stores */

struct wal_control {
    /* From the loop: wal_control_write() has ended. `error` is 0 or a negative errno, which is
     * final. */
    void (*written)(struct wal_control *control, int error);
    struct disk *disk;
    struct disk_file *files[2];    /* NULL = not there */
    struct wal_format_control now; /* as last read or written; sequence 0 = none was found */
    uint8_t *block;
    struct disk_op op;
    bool pending; /* `op` is */
};

/* Opens and reads what is there. A directory without a whole control block is no error here.
 *
 * Returns 0; WAL_FORMAT_E_NEWER; WAL_CONTROL_E_MIXED; or negative errno. wal_control_deinit() is
 * needed in any case. */
int wal_control_init(struct wal_control *control, struct disk *disk);

/* Nothing may be pending. Safe when zeroed. */
void wal_control_deinit(struct wal_control *control);

/* Blocking: writes `now` to both files in turn, making the ones that are missing. Returns 0 or
 * negative errno. */
int wal_control_write_now(struct wal_control *control);

/* Writes `now`; none may be pending. Returns 0, then `written` runs, or negative errno. */
int wal_control_write(struct wal_control *control);

#endif
