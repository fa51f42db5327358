#include "lib/unit.h"

#include "service/password.h"
#include "write_fakes.h"

#include <sodium.h>

#include <errno.h>

static const struct password_cost CHEAP = {8, 1};

struct told {
    struct password_job job; /* first */
    int count;
    int result;
};

static void on_done(struct password_job *job, int result)
{
    struct told *told = CONTAINER_OF(job, struct told, job);

    told->count++;
    told->result = result;
}

static void init(struct told *told, const struct password_cost *cost, struct bytes password)
{
    *told = (struct told){0};
    ck_assert_int_eq(password_job_init(&told->job, cost, password), 0);
    told->job.done = on_done;
}

/* The hash is an Argon2id PHC string with the cost that was asked for, and it is that of the
 * password. */
START_TEST(password_becomes_a_phc_string)
{
    static const struct password_cost cost = {64, 3};
    struct told told;

    fake_pool_init(1);
    init(&told, &cost, BYTES_LITERAL("correct horse"));
    ck_assert_int_eq(password_job_submit(&told.job, NULL), 0);
    ck_assert_int_eq(told.count, 0);
    fake_pool_run();
    ck_assert_int_eq(told.count, 1);
    ck_assert_int_eq(told.result, 0);
    ck_assert_mem_eq(told.job.hash, "$argon2id$v=19$m=64,t=3,p=1$", 28);
    ck_assert_int_eq(crypto_pwhash_str_verify(told.job.hash, "correct horse", 13), 0);
    ck_assert_int_ne(crypto_pwhash_str_verify(told.job.hash, "correct horsf", 13), 0);
    password_job_deinit(&told.job);
}

END_TEST

/* The same password twice gives two hashes: each has its salt. */
START_TEST(password_is_salted)
{
    struct told told[2];

    fake_pool_init(2);
    for (int i = 0; i < 2; i++) {
        init(&told[i], &CHEAP, BYTES_LITERAL("correct horse"));
        ck_assert_int_eq(password_job_submit(&told[i].job, NULL), 0);
    }
    fake_pool_run();
    ck_assert_str_ne(told[0].job.hash, told[1].job.hash);
}

END_TEST

/* All bytes count, also those behind a NUL or beyond 72. */
START_TEST(password_is_not_cut)
{
    char password[1024];
    struct told told;

    memset(password, 'p', sizeof(password));
    password[10] = '\0';
    fake_pool_init(1);
    init(&told, &CHEAP, (struct bytes){(const uint8_t *)password, sizeof(password)});
    ck_assert_int_eq(password_job_submit(&told.job, NULL), 0);
    fake_pool_run();
    ck_assert_int_eq(crypto_pwhash_str_verify(told.job.hash, password, sizeof(password)), 0);
    password[1023] = 'q';
    ck_assert_int_ne(crypto_pwhash_str_verify(told.job.hash, password, sizeof(password)), 0);
}

END_TEST

/* The copy is gone as soon as the hash is made, before anybody is told. */
START_TEST(password_copy_goes_with_the_hash)
{
    struct told told;

    fake_pool_init(1);
    init(&told, &CHEAP, BYTES_LITERAL("correct horse"));
    ck_assert_int_eq(password_job_submit(&told.job, NULL), 0);
    ck_assert_ptr_nonnull(told.job.password);
    fake_pool_work_first();
    ck_assert_ptr_null(told.job.password);
    ck_assert_int_eq(told.count, 0);
    fake_pool_run();
    ck_assert_int_eq(told.count, 1);
}

END_TEST

/* A job that waits can be cancelled; its copy is gone then too. */
START_TEST(password_cancels_while_it_waits)
{
    struct told told;

    fake_pool_init(1);
    init(&told, &CHEAP, BYTES_LITERAL("correct horse"));
    ck_assert_int_eq(password_job_submit(&told.job, NULL), 0);
    password_job_cancel(&told.job, NULL);
    ck_assert_int_eq(told.count, 0);
    fake_pool_run();
    ck_assert_int_eq(told.count, 1);
    ck_assert_int_eq(told.result, -ECANCELED);
    ck_assert_uint_eq(fake_pool.works_run, 0);
    ck_assert_ptr_null(told.job.password);
}

END_TEST

/* A full pool is told at once, and the job is still ours. */
START_TEST(password_tells_when_the_queue_is_full)
{
    struct told told;

    fake_pool_init(0);
    init(&told, &CHEAP, BYTES_LITERAL("correct horse"));
    ck_assert_int_eq(password_job_submit(&told.job, NULL), PASSWORD_E_FULL);
    password_job_deinit(&told.job);
    password_job_deinit(&told.job);
    ck_assert_int_eq(told.count, 0);
}

END_TEST

UNIT_MAIN("password", password_becomes_a_phc_string, password_is_salted, password_is_not_cut,
          password_copy_goes_with_the_hash, password_cancels_while_it_waits,
          password_tells_when_the_queue_is_full)
