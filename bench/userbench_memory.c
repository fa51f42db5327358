#include "userbench_memory.h"

#include "userbench_problem.h"

#include <stdlib.h>

void *userbench_memory_get(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (memory == NULL) {
        userbench_problem("no memory");
    }
    return memory;
}
