/*
 * How every block that stands alone in a file of ours begins: a magic, then the versions that say
 * who may read it; and how it ends, with a checksum. These places hold for every version to come.
 *
 * Owns:    nothing.
 * Borrows: everything passed in, for the call.
 * Thread:  any.
 */
#ifndef CORE_FILE_HEAD_H
#define CORE_FILE_HEAD_H

#include <stddef.h>
#include <stdint.h>

#define FILE_HEAD_MAGIC_SIZE 8
#define FILE_HEAD_SIZE       24 /* the fields of a block go on from here */

#define FILE_HEAD_E_BAD   1 /* another magic, or the checksum is wrong */
#define FILE_HEAD_E_NEWER 2 /* whole, but the reader must know more than it does */

struct file_head {
    const uint8_t *magic; /* FILE_HEAD_MAGIC_SIZE bytes */
    uint32_t version;     /* of the writer; and the highest least version that a reader accepts */
    uint32_t features;    /* the writer's required ones; and those that a reader knows */
    size_t crc_offset;    /* the checksum stands here, of everything before it */
};

/* Fills the first FILE_HEAD_SIZE bytes. */
void file_head_put(uint8_t *bytes, const struct file_head *head);

/* Sets the checksum, once the fields are in their places, and returns it. */
uint32_t file_head_seal(uint8_t *bytes, const struct file_head *head);

/* Returns 0, FILE_HEAD_E_BAD or FILE_HEAD_E_NEWER. */
int file_head_check(const uint8_t *bytes, const struct file_head *head);

#endif
