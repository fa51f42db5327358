/*
 * Lets the n-th allocation fail. The functions malloc, calloc and realloc are replaced for the
 * whole program, so include it in one file of a test program only.
 *
 * Thread: one, while faults are armed.
 */
#ifndef UNIT_ALLOCATION_FAULTS_H
#define UNIT_ALLOCATION_FAULTS_H

#include <stdbool.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ALLOCATION_FAULTS_SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ALLOCATION_FAULTS_SANITIZED
#endif

/* What the sanitizer's runtime has in the place of libc's, and libc's own. */
#ifdef ALLOCATION_FAULTS_SANITIZED
#define ALLOCATION_REAL(name) __interceptor_##name
#else
#define ALLOCATION_REAL(name) __libc_##name
#endif

void *ALLOCATION_REAL(malloc)(size_t size);
void *ALLOCATION_REAL(calloc)(size_t count, size_t size);
void *ALLOCATION_REAL(realloc)(void *memory, size_t size);

static unsigned allocations_left; /* until one fails; 0 = none will */
static bool allocation_failed;

/* The nth allocation from now on fails, and no other; 0 = none. */
static inline void allocation_faults_arm(unsigned nth)
{
    allocations_left = nth;
    allocation_failed = false;
}

/* No allocation fails any more. Tells whether one did. */
static inline bool allocation_faults_disarm(void)
{
    allocations_left = 0;
    return allocation_failed;
}

static inline bool allocation_fails(void)
{
    if (allocations_left == 0 || --allocations_left > 0) {
        return false;
    }
    allocation_failed = true;
    return true;
}

void *malloc(size_t size)
{
    return allocation_fails() ? NULL : ALLOCATION_REAL(malloc)(size);
}

void *calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : ALLOCATION_REAL(calloc)(count, size);
}

void *realloc(void *memory, size_t size)
{
    return allocation_fails() ? NULL : ALLOCATION_REAL(realloc)(memory, size);
}

#endif
