/*
 * The allocator that wolfSSL works with: ordinary memory for sessions, secret memory (secret.h) for
 * what it allocates while a private key is being loaded.
 *
 * There is one per wolfSSL. In a client library that shares wolfSSL with its program
 * (USERD_SHARED_WOLFSSL) that is not ours to replace, for what was allocated before would be freed
 * by us: there nothing is installed, and keys lie in ordinary memory.
 *
 * Owns:    nothing; wolfSSL frees.
 * Thread:  any; the switch counts for the thread that turns it.
 */
#ifndef CORE_TLS_MEMORY_H
#define CORE_TLS_MEMORY_H

#include <stdbool.h>

/* Before the first use of the library; whoever uses it calls this. Safe to repeat. */
void tls_memory_install(void);

/* From now on allocations are secret, or ordinary again. */
void tls_memory_set_secret(bool is_secret);

#endif
