/*
 * Unsigned integers in little endian, at any address: how every file of ours holds them.
 *
 * Owns:    nothing.
 * Borrows: the bytes, for the call.
 * Thread:  any.
 */
#ifndef CORE_LE_H
#define CORE_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void le_put_u16(uint8_t *bytes, uint16_t value)
{
    value = htole16(value);
    memcpy(bytes, &value, sizeof(value));
}

static inline void le_put_u32(uint8_t *bytes, uint32_t value)
{
    value = htole32(value);
    memcpy(bytes, &value, sizeof(value));
}

static inline void le_put_u64(uint8_t *bytes, uint64_t value)
{
    value = htole64(value);
    memcpy(bytes, &value, sizeof(value));
}

static inline uint16_t le_get_u16(const uint8_t *bytes)
{
    uint16_t value;

    memcpy(&value, bytes, sizeof(value));
    return le16toh(value);
}

static inline uint32_t le_get_u32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return le32toh(value);
}

static inline uint64_t le_get_u64(const uint8_t *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return le64toh(value);
}

#endif
