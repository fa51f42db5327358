#include "core/tls_memory.h"

#include "core/secret.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef USERD_SHARED_WOLFSSL

void tls_memory_install(void)
{
}

void tls_memory_set_secret(bool is_secret)
{
    (void)is_secret;
}

#else

/*
 * A head before each block says which kind it is, so that it can be freed at any time. It keeps the
 * alignment that the library's vector code asks for.
 */

struct head {
    _Alignas(16) size_t size;
    bool is_secret;
};

_Static_assert(sizeof(struct head) == 16, "the block behind it must be aligned to 16");

static _Thread_local bool allocates_secret;

static void *allocate(size_t size)
{
    struct head *head;

    if (size > SIZE_MAX - sizeof(*head)) {
        return NULL;
    }
    head = allocates_secret ? secret_alloc(sizeof(*head) + size) : malloc(sizeof(*head) + size);
    if (head == NULL) {
        return NULL;
    }
    head->size = size;
    head->is_secret = allocates_secret;
    return head + 1;
}

static void release(void *block)
{
    struct head *head;

    if (block == NULL) {
        return;
    }
    head = (struct head *)block - 1;
    if (head->is_secret) {
        secret_free(head);
    } else {
        free(head);
    }
}

/* A secret stays one: it is moved rather than grown where it is. */
static void *reallocate(void *block, size_t size)
{
    struct head *head = block == NULL ? NULL : (struct head *)block - 1;
    void *grown;

    if (head != NULL && !head->is_secret && !allocates_secret) {
        if (size > SIZE_MAX - sizeof(*head)) {
            return NULL;
        }
        grown = realloc(head, sizeof(*head) + size);
        if (grown == NULL) {
            return NULL;
        }
        head = grown;
        head->size = size;
        return head + 1;
    }
    grown = allocate(size);
    if (grown != NULL && head != NULL) {
        memcpy(grown, block, head->size < size ? head->size : size);
        release(block);
    }
    return grown;
}

static void install(void)
{
    (void)wolfSSL_SetAllocators(allocate, release, reallocate);
}

/* Once: several threads may make clients, and the library's pointers have no lock. */
void tls_memory_install(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, install); /* with these arguments it cannot fail */
}

void tls_memory_set_secret(bool is_secret)
{
    allocates_secret = is_secret;
}

#endif
