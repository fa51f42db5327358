#include "userbench_ids.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define GOLDEN 0x9e3779b97f4a7c15ULL

static int make_shares(struct userbench_ids *ids, double exponent)
{
    double sum = 0;

    ids->shares = calloc(ids->users, sizeof(*ids->shares));
    if (ids->shares == NULL) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < ids->users; i++) {
        sum += pow((double)(i + 1), -exponent);
        ids->shares[i] = sum;
    }
    for (uint64_t i = 0; i < ids->users; i++) {
        ids->shares[i] /= sum;
    }
    return 0;
}

int userbench_ids_init(struct userbench_ids *ids, enum userbench_ids_kind kind, uint64_t users,
                       double exponent, uint64_t seed)
{
    *ids = (struct userbench_ids){.kind = kind, .users = users, .state = seed};
    return kind == USERBENCH_IDS_ZIPF ? make_shares(ids, exponent) : 0;
}

void userbench_ids_deinit(struct userbench_ids *ids)
{
    free(ids->shares);
    ids->shares = NULL;
}

uint64_t userbench_ids_random(struct userbench_ids *ids)
{
    uint64_t value = (ids->state += GOLDEN);

    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
    return value ^ (value >> 31);
}

/* Below `limit`, evenly but for 2^-32 of it; both have at most 32 bits. */
static uint64_t below(uint64_t random, uint64_t limit)
{
    return ((random >> 32) * limit) >> 32;
}

/* The first favourite up to whom the shares exceed the number. */
static uint64_t favourite(const struct userbench_ids *ids, double number)
{
    uint64_t low = 0;
    uint64_t high = ids->users - 1;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (ids->shares[middle] > number) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

uint64_t userbench_ids_next(struct userbench_ids *ids)
{
    uint64_t random;

    switch (ids->kind) {
    case USERBENCH_IDS_ONE:
        return 0;
    case USERBENCH_IDS_SEQUENTIAL:
        return ids->next++ % ids->users;
    case USERBENCH_IDS_ZIPF:
        random = userbench_ids_random(ids);
        /* Spread, so that favourites are no neighbours in memory. */
        return favourite(ids, (double)(random >> 11) * 0x1p-53) * 2654435761ULL % ids->users;
    case USERBENCH_IDS_UNIFORM:
    default:
        return below(userbench_ids_random(ids), ids->users);
    }
}
