#include "service/password.h"

#include <sodium.h>

#include <errno.h>
#include <stdlib.h>

/* crypto_pwhash_str() refuses less memory. */
#define MEMORY_KIB_MIN 8

_Static_assert(PASSWORD_HASH_SIZE == crypto_pwhash_argon2id_STRBYTES, "PHC string of libsodium");
_Static_assert(MEMORY_KIB_MIN * 1024 == crypto_pwhash_argon2id_MEMLIMIT_MIN, "memory of libsodium");

static void wipe(struct password_job *job)
{
    if (job->password != NULL) {
        sodium_memzero(job->password, job->password_size);
    }
    free(job->password);
    job->password = NULL;
    job->password_size = 0;
}

/* On a thread of the pool. */
static void work(struct workpool_job *pool_job)
{
    struct password_job *job = CONTAINER_OF(pool_job, struct password_job, job);
    size_t memory = (size_t)job->cost.memory_kib * 1024;

    /* It fails only when it does not get that much memory. Not tested: asking for so much that it
     * is refused may end the machine instead. */
    job->result = crypto_pwhash_argon2id_str(job->hash, job->password, job->password_size,
                                             job->cost.iterations, memory) == 0
                      ? 0
                      : -ENOMEM;
    wipe(job);
}

static void finish(struct workpool_job *pool_job, bool cancelled)
{
    struct password_job *job = CONTAINER_OF(pool_job, struct password_job, job);

    wipe(job);
    job->done(job, cancelled ? -ECANCELED : job->result);
}

int password_job_init(struct password_job *job, const struct password_cost *cost,
                      struct bytes password)
{
    char *copy;

    assert(cost->memory_kib >= MEMORY_KIB_MIN);
    assert(cost->iterations >= 1);
    if (sodium_init() < 0) { /* the salt is random; repeated calls are fine */
        return -ENOMEM;
    }
    copy = malloc(password.size + 1); /* never of no size */
    if (copy == NULL) {
        return -ENOMEM;
    }
    if (password.size > 0) {
        memcpy(copy, password.data, password.size);
    }
    *job = (struct password_job){.cost = *cost, .password = copy, .password_size = password.size};
    return 0;
}

void password_job_deinit(struct password_job *job)
{
    wipe(job);
}

int password_job_submit(struct password_job *job, struct workpool *pool)
{
    job->job.work = work;
    job->job.finish = finish;
    return workpool_submit(pool, &job->job) == 0 ? 0 : PASSWORD_E_FULL;
}

void password_job_cancel(struct password_job *job, struct workpool *pool)
{
    workpool_cancel(pool, &job->job);
}
