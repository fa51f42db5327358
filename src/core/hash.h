/*
 * Checksums and hashes: CRC-32C for the disk, seeded SipHash-1-3 for tables that foreign keys go
 * into.
 *
 * Owns, borrows: nothing.
 * Thread:  any.
 */
#ifndef CORE_HASH_H
#define CORE_HASH_H

#include "core/bytes.h"

#include <stdint.h>

/* CRC-32C (Castagnoli, RFC 3720 B.4) of `bytes`, going on from `crc` (0 at first). Uses the CPU's
 * instruction when it is there. */
uint32_t hash_crc32c(uint32_t crc, struct bytes bytes);

/* The same without that instruction, about twenty times slower. */
uint32_t hash_crc32c_portable(uint32_t crc, struct bytes bytes);

struct hash_seed {
    uint64_t key[2];
};

uint64_t hash_siphash(const struct hash_seed *seed, struct bytes bytes);

#endif
