/*
 * A file of a trial disk: the real one that it reads from, if any, and the blocks that were
 * written, which hide those of the real one.
 *
 * Owns:    the blocks; the real file, while it is open.
 * Borrows: the real disk.
 * Thread:  loop only.
 */
#ifndef TOOLS_USERWAL_TRIAL_NODE_H
#define TOOLS_USERWAL_TRIAL_NODE_H

#include "core/bytes.h"
#include "core/disk.h"
#include "core/list.h"

#include <stdbool.h>
#include <stdint.h>

#define USERWAL_TRIAL_NAME_SIZE 256

struct userwal_trial_node {
    struct list link;
    char name[USERWAL_TRIAL_NAME_SIZE];
    char real_name[USERWAL_TRIAL_NAME_SIZE]; /* what lies below; "" = nothing */
    struct disk_file *real; /* that, while the node is open: a folder may have many files */
    unsigned open_count;
    bool removed;
    bool listed; /* for one listing */
    uint64_t size;
    uint64_t real_size;
    uint8_t **blocks; /* NULL = as below */
    uint64_t block_count;
};

/* Offsets and sizes of writes are multiples of DISK_BLOCK_SIZE. Return 0 or negative errno. */
int userwal_trial_node_read(struct userwal_trial_node *node, void *bytes, size_t size,
                            uint64_t offset);
int userwal_trial_node_write(struct userwal_trial_node *node, struct bytes bytes, uint64_t offset);

/* Lets the real file go, until it is opened again. */
void userwal_trial_node_close(struct userwal_trial_node *node);

/* Forgets what was written, and the real file: nothing lies below any more. */
void userwal_trial_node_clear(struct userwal_trial_node *node);

#endif
