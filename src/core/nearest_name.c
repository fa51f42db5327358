#include "core/nearest_name.h"

/*
 * One row of the table of distances at a time: before line i, row[j] is how many steps make the
 * first j bytes of `b` of the first i bytes of `a`. The least of a row never gets less in a later
 * one, so that a name that is too far off is seen to be so after a few lines.
 */

static unsigned least_of(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* The next line of the table. Returns the least in it. */
static unsigned advance(unsigned *row, uint8_t byte, struct bytes b)
{
    unsigned diagonal = row[0];
    unsigned least;

    row[0]++;
    least = row[0];
    for (size_t j = 0; j < b.size; j++) {
        const unsigned replaced = diagonal + (byte == b.data[j] ? 0 : 1);

        diagonal = row[j + 1];
        row[j + 1] = least_of(replaced, least_of(row[j], diagonal) + 1);
        least = least_of(least, row[j + 1]);
    }
    return least;
}

/* How many steps make one of the other; any number over `most` when it is more than that. */
static unsigned steps_between(struct bytes a, struct bytes b, unsigned most)
{
    const size_t longer = a.size > b.size ? a.size : b.size;
    const size_t shorter = a.size > b.size ? b.size : a.size;
    unsigned row[NEAREST_NAME_SIZE_MAX + 1];

    if (longer > NEAREST_NAME_SIZE_MAX || longer - shorter > most) {
        return most + 1;
    }
    for (unsigned j = 0; j <= b.size; j++) {
        row[j] = j;
    }
    for (size_t i = 0; i < a.size; i++) {
        if (advance(row, a.data[i], b) > most) {
            return most + 1;
        }
    }
    return row[b.size];
}

void nearest_name_begin(struct nearest_name *nearest, struct bytes wanted, unsigned steps_max)
{
    *nearest = (struct nearest_name){.wanted = wanted, .steps_max = steps_max};
}

void nearest_name_offer(struct nearest_name *nearest, struct bytes known)
{
    unsigned steps;

    if (nearest->name.data != NULL && nearest->steps == 0) {
        return;
    }
    steps = steps_between(nearest->wanted, known, nearest->steps_max);
    if (steps <= nearest->steps_max) {
        nearest->name = known;
        nearest->steps = steps;
        nearest->steps_max = steps == 0 ? 0 : steps - 1;
    }
}
