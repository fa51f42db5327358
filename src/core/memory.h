/*
 * How much memory the process takes, and how much it may take.
 *
 * Owns:    a descriptor of /proc.
 * Thread:  memory_trim() any; the rest the one that opened it.
 */
#ifndef CORE_MEMORY_H
#define CORE_MEMORY_H

#include <stdint.h>

struct control_group_files;

struct memory {
    int fd;
    uint64_t page_size;
};

/* Returns 0 or negative errno. */
int memory_open(struct memory *memory);

/* Safe after a memory_open() that failed. */
void memory_close(struct memory *memory);

/* In bytes. */
struct memory_size {
    uint64_t used;   /* what the process has in memory */
    uint64_t mapped; /* and what it could have there */
};

/* What it takes now. Cheap, and does not block. Returns 0 or negative errno. */
int memory_read(const struct memory *memory, struct memory_size *ret_size);

/* The first of them alone. */
int memory_used(const struct memory *memory, uint64_t *ret_used);

/* The smaller of the machine's memory and what the control groups of the process allow. UINT64_MAX
 * when neither is known. At start-up: reads files. */
uint64_t memory_allowed(void);

/* The same with other files, for tests. */
uint64_t memory_allowed_by(const struct control_group_files *groups);

/* Gives what was freed back to the system, which else happens by chance. Takes the longer the more
 * there is, with the allocator's lock: too long for the loop. */
void memory_trim(void);

#endif
