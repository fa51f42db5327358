#include "core/ini.h"

#include "core/slurp.h"

#include <ini.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/*
 * libinih is asked for one strict dialect: a key and its value stand on one line, and reading stops
 * at the first bad one. Lines come from memory through a reader of ours, which counts them (the
 * library's handler is not told) and refuses a line that the library would cut without a word.
 */

#define FILE_SIZE_MAX (1024 * 1024)
#define LINE_SIZE_MAX 8192

struct ini_reading {
    const char *rest; /* of the text */
    ini_entry_fn entry;
    void *context;
    int line;     /* the one being parsed; from 1 */
    bool stopped; /* by the callback */
    bool too_long;
};

/* Called by the library like fgets(). */
static char *read_line(char *room, int room_size, void *stream)
{
    struct ini_reading *reading = stream;
    size_t size = strcspn(reading->rest, "\n");

    if (reading->stopped || reading->too_long || reading->rest[0] == '\0') {
        return NULL;
    }
    reading->line++;
    if (reading->rest[size] == '\n') {
        size++;
    }
    if (size >= (size_t)room_size) {
        reading->too_long = true;
        return NULL;
    }
    memcpy(room, reading->rest, size);
    room[size] = '\0';
    reading->rest += size;
    return room;
}

/* Called by the library; 0 means an error there. */
static int take_entry(void *context, const char *section, const char *key, const char *value)
{
    struct ini_reading *reading = context;

    reading->stopped = reading->entry(reading->context, section, key, value, reading->line) != 0;
    return reading->stopped ? 0 : 1;
}

/* The library keeps its settings in variables of its own. */
static void choose_dialect(void)
{
    ini_allow_multiline = false;
    ini_stop_on_first_error = true;
    ini_use_stack = false;
    ini_max_line = LINE_SIZE_MAX;
    ini_initial_alloc = LINE_SIZE_MAX;
}

int ini_read_text(const char *text, ini_entry_fn entry, void *context, int *ret_line)
{
    struct ini_reading reading = {.rest = text, .entry = entry, .context = context};
    int result;

    choose_dialect();
    result = ini_parse_stream(read_line, &reading, take_entry, &reading);
    if (result < 0) {
        return -ENOMEM;
    }
    if (result == 0 && !reading.too_long) {
        return 0;
    }
    *ret_line = reading.line;
    return reading.stopped ? INI_E_STOPPED : INI_E_SYNTAX;
}

int ini_read_file(const char *path, ini_entry_fn entry, void *context, int *ret_line)
{
    char *text;
    size_t size;
    int result = slurp_file(path, FILE_SIZE_MAX, &text, &size);

    if (result != 0) {
        return result == SLURP_E_TOO_LARGE ? -EFBIG : result;
    }
    result = ini_read_text(text, entry, context, ret_line);
    if (result == 0 && strlen(text) != size) {
        *ret_line = 1; /* a NUL byte hides the rest: this is no text file */
        result = INI_E_SYNTAX;
    }
    slurp_free(text, size);
    return result;
}
