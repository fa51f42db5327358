#include "core/file_head.h"

#include "core/hash.h"
#include "core/le.h"

static uint32_t crc_of(const uint8_t *bytes, const struct file_head *head)
{
    return hash_crc32c(0, (struct bytes){bytes, head->crc_offset});
}

void file_head_put(uint8_t *bytes, const struct file_head *head)
{
    memcpy(bytes, head->magic, FILE_HEAD_MAGIC_SIZE);
    le_put_u32(bytes + 8, head->version);
    le_put_u32(bytes + 12, head->version);
    le_put_u32(bytes + 16, head->features);
    le_put_u32(bytes + 20, 0);
}

uint32_t file_head_seal(uint8_t *bytes, const struct file_head *head)
{
    const uint32_t crc = crc_of(bytes, head);

    le_put_u32(bytes + head->crc_offset, crc);
    return crc;
}

/* The checksum comes before the versions: in a damaged block neither means anything. */
int file_head_check(const uint8_t *bytes, const struct file_head *head)
{
    if (memcmp(bytes, head->magic, FILE_HEAD_MAGIC_SIZE) != 0 ||
        le_get_u32(bytes + head->crc_offset) != crc_of(bytes, head)) {
        return FILE_HEAD_E_BAD;
    }
    if (le_get_u32(bytes + 12) > head->version || (le_get_u32(bytes + 16) & ~head->features) != 0) {
        return FILE_HEAD_E_NEWER;
    }
    return 0;
}
