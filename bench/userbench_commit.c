/*
 * Blocks of the kinds take turns, so that what disturbs the machine disturbs
 * them alike: bare writes (only with one call in flight) from the server's core
 * and from ours, UpdateUser, GetUser, and both again at a second server if there
 * is one. The first block of each is not counted: it connects, and fills caches.
 *
 * With several calls in flight each changes another user, and the next call
 * starts as soon as one has ended.
 */
#include "userbench_commit.h"

#include "core/clock.h"
#include "userbench_client.h"
#include "userbench_disk.h"
#include "userbench_memory.h"
#include "userbench_options.h"
#include "userbench_problem.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define PARTIES_MAX 2

/* A server under test, and what is known of it. */
struct party {
    struct userbench_client client;
    struct userbench_samples samples[2]; /* of GetUser, of UpdateUser */
    uint64_t busy_ns[2];                 /* of their counted blocks */
};

struct bench {
    struct party parties[PARTIES_MAX];
    unsigned party_count;
    struct userbench_disk disk;
    cpu_set_t own_cores;
    cpu_set_t server_cores;
    struct userbench_samples bare; /* from our core, and from the server's */
    struct userbench_samples bare_server;
    struct party *party;               /* of the present block */
    struct userbench_samples *samples; /* likewise; NULL = not counted */
    uint64_t next_user;
    unsigned users;
    unsigned to_start; /* calls of the present block */
    unsigned to_end;
};

struct slot {
    struct userbench_call call;
    struct bench *bench;
};

static void start(struct slot *slot)
{
    struct bench *bench = slot->bench;

    if (bench->to_start == 0) {
        return;
    }
    bench->to_start--;
    slot->call.user = bench->next_user;
    bench->next_user = (bench->next_user + 1) % bench->users;
    slot->call.start_ns = clock_monotonic_ns(clock_system());
    userbench_client_start(&bench->party->client, &slot->call);
}

static void on_done(struct userbench_call *call, uint64_t now_ns)
{
    struct slot *slot = CONTAINER_OF(call, struct slot, call);

    if (slot->bench->samples != NULL) {
        userbench_samples_add(slot->bench->samples, now_ns - call->start_ns);
    }
    slot->bench->to_end--;
    start(slot);
}

static void run_calls(struct bench *bench, struct slot *slots,
                      const struct userbench_options *options, bool is_update, bool counts)
{
    const uint64_t start_ns = clock_monotonic_ns(clock_system());

    bench->samples = counts ? &bench->party->samples[is_update] : NULL;
    bench->to_start = options->calls;
    bench->to_end = options->calls;
    for (unsigned i = 0; i < options->in_flight; i++) {
        slots[i].call.is_update = is_update;
        start(&slots[i]);
    }
    while (bench->to_end > 0) {
        userbench_client_turn(&bench->party->client, UINT64_MAX);
    }
    if (bench->samples != NULL) {
        bench->party->busy_ns[is_update] += clock_monotonic_ns(clock_system()) - start_ns;
    }
}

static void run_writes(struct bench *bench, struct userbench_samples *samples, unsigned count,
                       const cpu_set_t *cores)
{
    if (sched_setaffinity(0, sizeof(*cores), cores) != 0) {
        userbench_problem("this core cannot be used");
    }
    for (unsigned i = 0; i < count; i++) {
        userbench_disk_write(&bench->disk, samples);
    }
}

/* Ends on our own core again. */
static void run_all_writes(struct bench *bench, unsigned count)
{
    run_writes(bench, &bench->bare_server, count, &bench->server_cores);
    run_writes(bench, &bench->bare, count, &bench->own_cores);
}

static void init_writes(struct bench *bench, const struct userbench_options *options)
{
    if (sched_getaffinity(0, sizeof(bench->own_cores), &bench->own_cores) != 0) {
        userbench_problem("which cores we may use is unknown");
    }
    CPU_ZERO(&bench->server_cores);
    CPU_SET(options->server_core, &bench->server_cores);
    userbench_disk_init(&bench->disk, options->dir);
}

static void run_blocks(struct bench *bench, const struct userbench_options *options)
{
    const bool writes = options->in_flight == 1;
    struct slot *slots = userbench_memory_get(options->in_flight, sizeof(*slots));

    for (unsigned i = 0; i < options->in_flight; i++) {
        slots[i] = (struct slot){.call.done = on_done, .bench = bench};
    }
    if (writes) {
        init_writes(bench, options);
    }
    for (unsigned round = 0; round <= options->rounds; round++) {
        if (writes && round > 0) {
            run_all_writes(bench, options->calls);
        }
        for (unsigned i = 0; i < bench->party_count; i++) {
            bench->party = &bench->parties[i];
            run_calls(bench, slots, options, true, round > 0);
            run_calls(bench, slots, options, false, round > 0);
        }
    }
    if (writes) {
        userbench_disk_deinit(&bench->disk);
    }
    free(slots);
}

static void print(const char *name, struct userbench_samples *samples, uint64_t busy_ns)
{
    userbench_samples_sort(samples);
    (void)printf("kind=%s count=%zu p10=%.1f p50=%.1f p99=%.1f max=%.1f per_s=%.0f\n", name,
                 samples->count, userbench_samples_at(samples, 0.1),
                 userbench_samples_at(samples, 0.5), userbench_samples_at(samples, 0.99),
                 userbench_samples_at(samples, 1),
                 busy_ns == 0 ? 0.0 : (double)samples->count * 1e9 / (double)busy_ns);
    userbench_samples_deinit(samples);
}

static void add_party(struct bench *bench, const struct userbench_options *options,
                      const char *target)
{
    struct userbench_options own = *options;

    own.target = target;
    userbench_client_init(&bench->parties[bench->party_count].client, &own);
    bench->party_count++;
}

int userbench_commit_run(const struct userbench_options *options)
{
    static const char *const names[PARTIES_MAX][2] = {{"get", "update"},
                                                      {"second_get", "second_update"}};
    struct bench bench = {.users = options->users};

    if (options->in_flight == 0 || options->in_flight > options->users) {
        userbench_problem("--in-flight: from 1 to --users");
    }
    add_party(&bench, options, options->target);
    if (options->second_target != NULL) {
        add_party(&bench, options, options->second_target);
    }
    run_blocks(&bench, options);
    if (bench.bare.count > 0) {
        print("bare_server", &bench.bare_server, 0);
        print("bare", &bench.bare, 0);
    }
    for (unsigned i = 0; i < bench.party_count; i++) {
        struct party *party = &bench.parties[i];

        userbench_client_deinit(&party->client);
        for (unsigned kind = 0; kind < 2; kind++) {
            print(names[i][kind], &party->samples[kind], party->busy_ns[kind]);
        }
    }
    return EXIT_SUCCESS;
}
