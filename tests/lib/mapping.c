#include "lib/mapping.h"
#include "lib/unit.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

bool mapping_has_flag(const void *memory, const char *flag)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    char line[1024];
    char word[8];
    bool is_inside = false;
    bool has_flag = false;

    (void)snprintf(word, sizeof(word), " %s ", flag);
    ck_assert_ptr_nonnull(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        uintptr_t from;
        uintptr_t to;

        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
            is_inside = from <= (uintptr_t)memory && (uintptr_t)memory < to;
        } else if (is_inside && strncmp(line, "VmFlags:", 8) == 0) {
            has_flag = strstr(line, word) != NULL;
        }
    }
    ck_assert_int_eq(fclose(maps), 0);
    return has_flag;
}
