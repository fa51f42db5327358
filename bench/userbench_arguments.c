#include "userbench_arguments.h"

#include "userbench_problem.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static unsigned read_number(const char *name, const char *text)
{
    char *end;
    unsigned long number;

    errno = 0;
    number = strtoul(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0 || number > UINT_MAX) {
        userbench_problem("%s: \"%s\" is no number from 0 to %u", name, text, UINT_MAX);
    }
    return (unsigned)number;
}

static const struct userbench_argument *find(const struct userbench_argument *rows, size_t count,
                                             const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    userbench_problem("this command has no option %s; see userbench --help", name);
}

void userbench_arguments_read(const struct userbench_argument *rows, size_t row_count, int argc,
                              char **argv)
{
    for (int i = 0; i < argc; i++) {
        const struct userbench_argument *row = find(rows, row_count, argv[i]);

        if (row->flag != NULL) {
            *row->flag = true;
            continue;
        }
        i++;
        if (i == argc) {
            userbench_problem("%s: the value is missing", row->name);
        }
        if (row->text != NULL) {
            *row->text = argv[i];
        } else {
            *row->number = read_number(row->name, argv[i]);
        }
    }
}
