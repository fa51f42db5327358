/*
 * What tls.c, tls_context.c and tls_clients.c share; nobody else includes it.
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
#include <stdint.h>

struct WOLFSSL_CTX;
struct tls_clients;

struct tls_context {
    struct WOLFSSL_CTX *library;
    atomic_uint reference_count;
    bool is_client;
    bool requires_client_name;   /* client_auth = require */
    struct tls_clients *clients; /* NULL = clients are not asked */
    int64_t not_before_s;        /* the own certificate's; a client may have none: 0 */
    int64_t not_after_s;
};

void tls_context_ref(struct tls_context *context);

/* Reads a PEM file of 1 MiB at most, for slurp_free(). Returns 0, or negative errno with `problem`
 * naming it: `what` says which file it is. */
int tls_load_file(const char *path, const char *what, char *problem, char **ret_text,
                  size_t *ret_size);

/* The library's words for one of its error numbers. */
void tls_describe_error(int error, char *text, size_t size);

#endif
