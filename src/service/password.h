/*
 * Passwords to Argon2id hashes (PHC strings) by libsodium, on the work pool. Copies of the password
 * are wiped as soon as they were used.
 *
 * Owns:    its copy of the password.
 * Borrows: nothing; the job itself is lent to the pool until `done`.
 * Thread:  loop only; the hashing itself runs on a thread of the pool.
 */
#ifndef SERVICE_PASSWORD_H
#define SERVICE_PASSWORD_H

#include "core/bytes.h"
#include "core/workpool.h"

#include <stddef.h>
#include <stdint.h>

#define PASSWORD_HASH_SIZE 128 /* longest PHC string with its NUL */

#define PASSWORD_E_FULL 1 /* as many jobs wait as may */

struct password_cost {
    uint32_t memory_kib; /* at least 8 */
    uint32_t iterations; /* at least 1 */
};

/* One password to hash, embedded in its owner. */
struct password_job {
    struct workpool_job job;
    struct password_cost cost;
    char *password; /* wiped when hashed */
    size_t password_size;
    int result;
    char hash[PASSWORD_HASH_SIZE]; /* NUL-terminated, when `done` told 0 */
    /* Once, from the loop: 0, -ECANCELED, or -ENOMEM. */
    void (*done)(struct password_job *job, int result);
};

/* Copies the password, which the caller then wipes on its side. Returns 0 or -ENOMEM. */
int password_job_init(struct password_job *job, const struct password_cost *cost,
                      struct bytes password);

/* Wipes and frees the copy. The job may not be on its way. Safe to repeat, and on a zeroed job. */
void password_job_deinit(struct password_job *job);

/* Returns 0 with `done` to come, or PASSWORD_E_FULL with nothing queued. */
int password_job_submit(struct password_job *job, struct workpool *pool);

/* A job that still waits ends with -ECANCELED; one that is being hashed ends as it would. */
void password_job_cancel(struct password_job *job, struct workpool *pool);

#endif
