#include "core/random.h"

#include <sodium.h>

#include <stdio.h>
#include <stdlib.h>

static void fill_from_system(struct random_source *source, void *bytes, size_t size)
{
    (void)source;
    randombytes_buf(bytes, size);
}

struct random_source *random_system(void)
{
    static struct random_source source = {.fill = fill_from_system};

    if (sodium_init() < 0) {
        (void)fputs("userd: libsodium cannot be initialised\n", stderr);
        abort();
    }
    return &source;
}
