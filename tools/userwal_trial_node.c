/*
 * Blocks of zeros, of which a log segment is made, all share one block of memory.
 */
#include "userwal_trial_node.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static uint8_t zero_block[DISK_BLOCK_SIZE];

void userwal_trial_node_close(struct userwal_trial_node *node)
{
    if (node->real != NULL) {
        node->real->disk->ops->close_file(node->real);
        node->real = NULL;
    }
}

void userwal_trial_node_clear(struct userwal_trial_node *node)
{
    for (uint64_t i = 0; i < node->block_count; i++) {
        if (node->blocks[i] != zero_block) {
            free(node->blocks[i]);
        }
    }
    free(node->blocks);
    node->blocks = NULL;
    node->block_count = 0;
    node->size = 0;
    node->real_size = 0;
    node->real_name[0] = '\0';
    userwal_trial_node_close(node);
}

/* Up to the end of the block, or of `size`. */
static size_t piece_at(uint64_t offset, size_t size)
{
    const size_t left = DISK_BLOCK_SIZE - (size_t)(offset % DISK_BLOCK_SIZE);

    return left < size ? left : size;
}

static bool is_written(const struct userwal_trial_node *node, uint64_t offset)
{
    const uint64_t block = offset / DISK_BLOCK_SIZE;

    return block < node->block_count && node->blocks[block] != NULL;
}

static int read_below(struct userwal_trial_node *node, uint8_t *to, size_t size, uint64_t offset)
{
    size_t there = 0;
    int result = 0;

    if (node->real != NULL && offset < node->real_size) {
        const uint64_t left = node->real_size - offset;

        there = left < size ? (size_t)left : size;
        result = node->real->disk->ops->read(node->real, to, there, offset);
    }
    memset(to + there, 0, size - there);
    return result;
}

int userwal_trial_node_read(struct userwal_trial_node *node, void *bytes, size_t size,
                            uint64_t offset)
{
    uint8_t *to = bytes;
    int result = 0;

    if (offset + size > node->size) {
        return -EIO;
    }
    while (size > 0 && result == 0) {
        size_t piece = piece_at(offset, size);

        if (is_written(node, offset)) {
            memcpy(to, node->blocks[offset / DISK_BLOCK_SIZE] + offset % DISK_BLOCK_SIZE, piece);
        } else {
            /* All that lies below in one go, as the files are large. */
            while (piece < size && !is_written(node, offset + piece)) {
                piece += piece_at(offset + piece, size - piece);
            }
            result = read_below(node, to, piece, offset);
        }
        to += piece;
        offset += piece;
        size -= piece;
    }
    return result;
}

static int make_room(struct userwal_trial_node *node, uint64_t block_count)
{
    const size_t item = sizeof(node->blocks[0]);
    uint8_t **blocks;

    if (block_count <= node->block_count) {
        return 0;
    }
    blocks = realloc(node->blocks, block_count * item);
    if (blocks == NULL) {
        return -ENOMEM;
    }
    memset(blocks + node->block_count, 0, (block_count - node->block_count) * item);
    node->blocks = blocks;
    node->block_count = block_count;
    return 0;
}

static int write_block(struct userwal_trial_node *node, const uint8_t *bytes, uint64_t block)
{
    uint8_t **slot = node->blocks + block;

    if (memcmp(bytes, zero_block, DISK_BLOCK_SIZE) == 0) {
        if (*slot != zero_block) {
            free(*slot);
        }
        *slot = zero_block;
        return 0;
    }
    if (*slot == NULL || *slot == zero_block) {
        *slot = malloc(DISK_BLOCK_SIZE);
        if (*slot == NULL) {
            return -ENOMEM;
        }
    }
    memcpy(*slot, bytes, DISK_BLOCK_SIZE);
    return 0;
}

int userwal_trial_node_write(struct userwal_trial_node *node, struct bytes bytes, uint64_t offset)
{
    const uint64_t end = offset + bytes.size;
    int result;

    assert((offset | bytes.size) % DISK_BLOCK_SIZE == 0);
    result = make_room(node, end / DISK_BLOCK_SIZE);
    for (size_t done = 0; done < bytes.size && result == 0; done += DISK_BLOCK_SIZE) {
        result = write_block(node, bytes.data + done, (offset + done) / DISK_BLOCK_SIZE);
    }
    if (result == 0 && end > node->size) {
        node->size = end;
    }
    return result;
}
