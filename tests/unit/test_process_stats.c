#include "lib/unit.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/process_stats.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES 1000 /* more than one slice holds */

static struct log log_none;
static struct reactor reactor;
static struct process_stats stats;

static void set_up(void)
{
    const struct ring_options options = {.entries = 8};
    char problem[RING_PROBLEM_SIZE];

    log_init(&log_none, clock_system());
    ck_assert_int_eq(reactor_init(&reactor, &options, clock_system(), &log_none, problem), 0);
    ck_assert_int_eq(process_stats_open(&stats, &reactor), 0);
}

static void tear_down(void)
{
    process_stats_close(&stats);
    reactor_deinit(&reactor);
}

/* As ls(1) sees it. */
static unsigned count_by_folder(void)
{
    DIR *folder = opendir("/proc/self/fd");
    const struct dirent *entry;
    unsigned count = 0;

    ck_assert_ptr_nonnull(folder);
    while ((entry = readdir(folder)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    ck_assert_int_eq(closedir(folder), 0);
    return count - 1; /* the folder itself */
}

START_TEST(numbers_are_those_of_the_process)
{
    struct process_numbers before;
    struct process_numbers after;
    volatile unsigned work = 0;
    char *memory;

    set_up();
    process_stats_read(&stats, &before);
    ck_assert_uint_gt(before.resident_bytes, 100000);
    ck_assert_uint_gt(before.virtual_bytes, before.resident_bytes);
    ck_assert_uint_gt(before.max_files, before.open_files);
    ck_assert_uint_gt(before.started_ms, 1700000000000);
    memory = malloc(8 * 1024 * 1024);
    ck_assert_ptr_nonnull(memory);
    memset(memory, 1, 8 * 1024 * 1024);
    for (unsigned i = 0; i < 10000000; i++) {
        work += (unsigned)memory[i % 1024];
    }
    process_stats_read(&stats, &after);
    ck_assert_uint_gt(work, 0);
    ck_assert_uint_gt(after.cpu_ns, before.cpu_ns);
    ck_assert_uint_ge(after.resident_bytes, before.resident_bytes + 7 * 1024 * 1024);
    ck_assert_uint_eq(after.started_ms, before.started_ms);
    free(memory);
    tear_down();
}

END_TEST

/* Whether the system tells their number, or it has to be counted in slices. */
static void check_files(bool counts)
{
    struct process_numbers numbers;
    int fds[FILES];

    set_up();
    stats.counts = stats.counts || counts;
    process_stats_read(&stats, &numbers);
    ck_assert_uint_eq(numbers.open_files, count_by_folder());
    for (int i = 0; i < FILES; i++) {
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(fds[i], 0);
    }
    if (stats.counts) {
        /* The count that the first reading began ends in later turns. */
        for (int i = 0; i < FILES / 50; i++) {
            ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
        }
    }
    process_stats_read(&stats, &numbers);
    ck_assert_uint_eq(numbers.open_files, count_by_folder());
    for (int i = 0; i < FILES; i++) {
        ck_assert_int_eq(close(fds[i]), 0);
    }
    tear_down();
}

START_TEST(open_files_are_told)
{
    check_files(false);
}

END_TEST

START_TEST(open_files_are_counted_in_slices)
{
    check_files(true);
}

END_TEST

UNIT_MAIN("process_stats", numbers_are_those_of_the_process, open_files_are_told,
          open_files_are_counted_in_slices)
