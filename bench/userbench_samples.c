#include "userbench_samples.h"

#include "userbench_problem.h"

#include <stdlib.h>

#define FIRST_CAPACITY 4096
#define NS_PER_US      1000.0

void userbench_samples_deinit(struct userbench_samples *samples)
{
    free(samples->values);
    *samples = (struct userbench_samples){0};
}

void userbench_samples_add(struct userbench_samples *samples, uint64_t ns)
{
    uint64_t *values;

    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity == 0 ? FIRST_CAPACITY : 2 * samples->capacity;
        values = realloc(samples->values, samples->capacity * sizeof(*values));
        if (values == NULL) {
            userbench_problem("no memory for %zu samples", samples->capacity);
        }
        samples->values = values;
    }
    samples->values[samples->count] = ns;
    samples->count++;
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;

    return a < b ? -1 : a > b;
}

void userbench_samples_sort(struct userbench_samples *samples)
{
    if (samples->count > 0) {
        qsort(samples->values, samples->count, sizeof(*samples->values), compare);
    }
}

double userbench_samples_at(const struct userbench_samples *samples, double share)
{
    size_t index = (size_t)(share * (double)samples->count);

    if (samples->count == 0) {
        return 0;
    }
    if (index >= samples->count) {
        index = samples->count - 1;
    }
    return (double)samples->values[index] / NS_PER_US;
}
