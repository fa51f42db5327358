/*
 * An open loop: a call is due at its time, whether or not those before it were
 * answered, and its latency counts from then. So a server that stands still for
 * 10 ms makes all calls late that were due within them, not just one. With
 * --in-flight instead of --rate it is a closed loop of GetUser: the next call
 * starts when one has ended.
 *
 * When another program had our core for a while, the calls that were under way or fell due
 * meanwhile say nothing about the server: how many there were is all that is told of them.
 *
 * The users are called in an order that jumps through all of them, since
 * nobody's users are asked for in the order in which they lie in memory.
 */
#include "userbench_channel.h"

#include "core/clock.h"
#include "userbench_client.h"
#include "userbench_memory.h"
#include "userbench_options.h"
#include "userbench_problem.h"
#include "userbench_samples.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SLOTS_MAX                                                                                  \
    4096               /* calls under way; what is due beyond them waits, and counts as late       \
                        */
#define PHASES_MAX 16  /* names */
#define BLOCKS_MAX 256 /* phases of one name */
#define NAME_SIZE  32
#define PAUSE_NS   (100 * CLOCK_NS_PER_US)
#define USER_STEP  2654435761U

struct phase {
    char name[NAME_SIZE];
    struct userbench_samples gets;
    struct userbench_samples updates;
    uint64_t get_max_ns[BLOCKS_MAX];
    unsigned block_count;
    uint64_t excluded; /* calls that a pause of our own made late */
};

/* Calls of one kind that fall due at a fixed rate. */
struct source {
    uint64_t interval_ns; /* 0 = none */
    uint64_t due_ns;
    bool is_update;
};

struct load {
    struct userbench_client client;
    struct slot *free_slots;
    struct source gets;
    struct source updates;
    unsigned users;
    uint64_t call_count;
    unsigned closed_count; /* calls of the closed loop; 0 = open loop */
    unsigned under_way;
    uint64_t turn_ns;   /* when the last turn began */
    long preemptions;   /* until then */
    uint64_t paused_ns; /* when the last pause of our own ended */
    struct phase phases[PHASES_MAX];
    unsigned phase_count;
    struct phase *phase; /* NULL = not counted */
    struct ring_op input_op;
    char line[NAME_SIZE];
    size_t line_size;
    bool is_over;
};

struct slot {
    struct userbench_call call;
    struct load *load;
    struct slot *next; /* free */
};

/* A slot is free. */
static void start(struct load *load, bool is_update, uint64_t due_ns)
{
    struct slot *slot = load->free_slots;

    load->free_slots = slot->next;
    load->under_way++;
    slot->call.is_update = is_update;
    slot->call.start_ns = due_ns;
    slot->call.user = load->call_count * USER_STEP % load->users;
    load->call_count++;
    userbench_client_start(&load->client, &slot->call);
}

static void count(struct phase *phase, const struct userbench_call *call, uint64_t ns)
{
    uint64_t *max = &phase->get_max_ns[phase->block_count - 1];

    if (call->is_update) {
        userbench_samples_add(&phase->updates, ns);
        return;
    }
    userbench_samples_add(&phase->gets, ns);
    if (ns > *max) {
        *max = ns;
    }
}

static void on_done(struct userbench_call *call, uint64_t now_ns)
{
    struct slot *slot = CONTAINER_OF(call, struct slot, call);
    struct load *load = slot->load;

    if (load->phase != NULL && call->start_ns >= load->paused_ns) {
        count(load->phase, call, now_ns - call->start_ns);
    } else if (load->phase != NULL) {
        load->phase->excluded++;
    }
    slot->next = load->free_slots;
    load->free_slots = slot;
    load->under_way--;
    if (load->closed_count > 0 && !call->is_update && !load->is_over) {
        start(load, false, now_ns);
    }
}

static void begin_phase(struct load *load, const char *name)
{
    struct phase *phase = load->phases;

    while (phase < load->phases + load->phase_count && strcmp(phase->name, name) != 0) {
        phase++;
    }
    if (phase == load->phases + PHASES_MAX || phase->block_count == BLOCKS_MAX) {
        userbench_problem("too many phases");
    }
    if (phase == load->phases + load->phase_count) {
        load->phase_count++;
        (void)snprintf(phase->name, NAME_SIZE, "%s", name); /* of this size already */
    }
    phase->block_count++;
    load->phase = phase;
}

static void take_input(struct load *load, char byte)
{
    if (byte == '\n') {
        load->line[load->line_size] = '\0';
        load->line_size = 0;
        begin_phase(load, load->line);
    } else if (load->line_size + 1 < NAME_SIZE) {
        load->line[load->line_size++] = byte;
    }
}

static void wait_for_input(struct load *load)
{
    if (ring_poll(load->client.reactor.ring, &load->input_op, STDIN_FILENO, POLLIN) != 0) {
        userbench_problem("the standard input cannot be waited for");
    }
}

static void on_input(struct ring_op *op, const struct ring_event *event)
{
    struct load *load = CONTAINER_OF(op, struct load, input_op);
    char bytes[NAME_SIZE];
    ssize_t size = read(STDIN_FILENO, bytes, sizeof(bytes)); /* there is some, or its end */

    (void)event;
    for (ssize_t i = 0; i < size; i++) {
        take_input(load, bytes[i]);
    }
    if (size <= 0) {
        load->is_over = true;
        return;
    }
    wait_for_input(load);
}

static void start_due(struct load *load, struct source *source, uint64_t now_ns)
{
    while (source->interval_ns > 0 && source->due_ns <= now_ns && load->free_slots != NULL) {
        start(load, source->is_update, source->due_ns);
        source->due_ns += source->interval_ns;
    }
}

static uint64_t until_due(const struct source *source, uint64_t now_ns)
{
    if (source->interval_ns == 0) {
        return UINT64_MAX;
    }
    return source->due_ns > now_ns ? source->due_ns - now_ns : 0;
}

static void note_turn(struct load *load, uint64_t now_ns)
{
    struct rusage usage;

    if (getrusage(RUSAGE_THREAD, &usage) != 0) {
        userbench_problem("what this thread has used is unknown");
    }
    if (usage.ru_nivcsw != load->preemptions && now_ns - load->turn_ns > PAUSE_NS) {
        load->paused_ns = now_ns;
    }
    load->preemptions = usage.ru_nivcsw;
    load->turn_ns = now_ns;
}

static void run(struct load *load)
{
    uint64_t now_ns = clock_monotonic_ns(clock_system());
    uint64_t gets_ns;
    uint64_t updates_ns;

    load->gets.due_ns = now_ns;
    load->updates.due_ns = now_ns;
    for (unsigned i = 0; i < load->closed_count; i++) {
        start(load, false, now_ns);
    }
    while (!load->is_over) {
        now_ns = clock_monotonic_ns(clock_system());
        note_turn(load, now_ns);
        start_due(load, &load->gets, now_ns);
        start_due(load, &load->updates, now_ns);
        gets_ns = until_due(&load->gets, now_ns);
        updates_ns = until_due(&load->updates, now_ns);
        userbench_client_turn(&load->client, gets_ns < updates_ns ? gets_ns : updates_ns);
    }
    load->phase = NULL;
    while (load->under_way > 0) {
        userbench_client_turn(&load->client, UINT64_MAX);
    }
}

static void print_samples(const struct phase *phase, const char *kind,
                          struct userbench_samples *samples)
{
    if (samples->count == 0) {
        return;
    }
    userbench_samples_sort(samples);
    (void)printf("phase=%s kind=%s blocks=%u count=%zu p50=%.1f p99=%.1f p99.9=%.1f "
                 "max=%.1f\n",
                 phase->name, kind, phase->block_count, samples->count,
                 userbench_samples_at(samples, 0.5), userbench_samples_at(samples, 0.99),
                 userbench_samples_at(samples, 0.999), userbench_samples_at(samples, 1));
}

static void print_phase(struct phase *phase)
{
    print_samples(phase, "get", &phase->gets);
    print_samples(phase, "update", &phase->updates);
    (void)printf("phase=%s kind=get_maxima excluded=%" PRIu64 " us=", phase->name, phase->excluded);
    for (unsigned i = 0; i < phase->block_count; i++) {
        (void)printf("%s%.0f", i == 0 ? "" : ",",
                     (double)phase->get_max_ns[i] / (double)CLOCK_NS_PER_US);
    }
    (void)printf("\n");
    userbench_samples_deinit(&phase->gets);
    userbench_samples_deinit(&phase->updates);
}

static uint64_t interval_of(unsigned rate)
{
    return rate == 0 ? 0 : CLOCK_NS_PER_S / rate;
}

int userbench_channel_run(const struct userbench_options *options)
{
    struct load *load = userbench_memory_get(1, sizeof(*load));
    struct slot *slots = userbench_memory_get(SLOTS_MAX, sizeof(*slots));

    load->users = options->users;
    load->gets = (struct source){.interval_ns = interval_of(options->rate)};
    load->updates =
        (struct source){.interval_ns = interval_of(options->updates), .is_update = true};
    load->closed_count = options->rate > 0 ? 0 : options->in_flight;
    if (load->closed_count > SLOTS_MAX / 2) {
        userbench_problem("--in-flight: at most %d", SLOTS_MAX / 2);
    }
    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        slots[i] = (struct slot){
            .call.done = on_done,
            .load = load,
            .next = load->free_slots,
        };
        load->free_slots = &slots[i];
    }
    userbench_client_init(&load->client, options);
    load->input_op.done = on_input;
    wait_for_input(load);
    run(load);
    userbench_client_deinit(&load->client);
    for (unsigned i = 0; i < load->phase_count; i++) {
        print_phase(&load->phases[i]);
    }
    free(slots);
    free(load);
    return EXIT_SUCCESS;
}
