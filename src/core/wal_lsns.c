#include "core/wal_lsns.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void wal_lsns_deinit(struct wal_lsns *list)
{
    free(list->lsns);
    *list = (struct wal_lsns){0};
}

int wal_lsns_reserve(struct wal_lsns *list)
{
    const size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
    uint64_t *lsns;

    if (list->count < list->capacity) {
        return 0;
    }
    lsns = realloc(list->lsns, capacity * sizeof(lsns[0]));
    if (lsns == NULL) {
        return -ENOMEM;
    }
    list->lsns = lsns;
    list->capacity = capacity;
    return 0;
}

int wal_lsns_add(struct wal_lsns *list, uint64_t lsn)
{
    int result = wal_lsns_reserve(list);

    if (result == 0) {
        list->lsns[list->count++] = lsn;
    }
    return result;
}

static int compare(const void *a, const void *b)
{
    const uint64_t lsn_a = *(const uint64_t *)a;
    const uint64_t lsn_b = *(const uint64_t *)b;

    return lsn_a < lsn_b ? -1 : lsn_a > lsn_b;
}

void wal_lsns_sort(struct wal_lsns *list)
{
    if (list->count > 0) {
        qsort(list->lsns, list->count, sizeof(list->lsns[0]), compare);
    }
}

void wal_lsns_drop_first(struct wal_lsns *list)
{
    assert(list->count > 0);
    list->count--;
    memmove(list->lsns, list->lsns + 1, list->count * sizeof(list->lsns[0]));
}
