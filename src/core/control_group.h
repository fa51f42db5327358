/*
 * What the control groups of the process (cgroups, versions 1 and 2) let it use: a container's
 * limits. All that a process is in count, up to the root.
 *
 * Owns, borrows: nothing.
 * Thread:  any; start-up: reads files.
 */
#ifndef CORE_CONTROL_GROUP_H
#define CORE_CONTROL_GROUP_H

#include <stdint.h>

/* Where the groups are told. */
struct control_group_files {
    const char *of_process; /* /proc/self/cgroup */
    const char *root;       /* /sys/fs/cgroup */
};

extern const struct control_group_files control_group_system;

/* Bytes of memory; UINT64_MAX when there is no limit, or none that can be seen from here. */
uint64_t control_group_memory(const struct control_group_files *files);

/* Thousandths of a processor; UINT64_MAX likewise. */
uint64_t control_group_processors(const struct control_group_files *files);

/* How many threads of the process can run at once: on the processors that it may run on, and no
 * more than its groups pay for, rounded up. At least 1. */
unsigned control_group_threads(const struct control_group_files *files);

#endif
