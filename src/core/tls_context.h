/*
 * What tls.c and tls_context.c share; nobody else includes it.
 *
 * Owns:    the library's context.
 * Borrows: nothing.
 * Thread:  any, counted.
 */
#ifndef CORE_TLS_CONTEXT_H
#define CORE_TLS_CONTEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct WOLFSSL_CTX;

struct tls_context {
    struct WOLFSSL_CTX *library;
    atomic_uint reference_count;
    bool is_client;
};

void tls_context_ref(struct tls_context *context);

/* The library's words for one of its error numbers. */
void tls_describe_error(int error, char *text, size_t size);

#endif
