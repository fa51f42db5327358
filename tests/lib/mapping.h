/*
 * What the kernel says of a piece of this process's memory.
 *
 * Owns, borrows: nothing.
 * Thread:  one per test.
 */
#ifndef TESTS_LIB_MAPPING_H
#define TESTS_LIB_MAPPING_H

#include <stdbool.h>

/* Whether the mapping that `memory` lies in has this flag: two letters of VmFlags (proc(5)), "lo" =
 * locked, "dd" = not in core files. */
bool mapping_has_flag(const void *memory, const char *flag);

#endif
