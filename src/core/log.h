/*
 * One structured line per event on stderr: time, level, event name, then key=value fields (or the
 * same as JSON). A line that could not be written at once is dropped, and counted.
 *
 * Owns:    nothing but its settings.
 * Borrows: everything passed in, for the call.
 * Thread:  loop only (the cap counts without locks); a line is one write.
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level {
    LEVEL_DEBUG,
    LEVEL_INFO,
    LEVEL_WARN,
    LEVEL_ERROR,
};

enum log_format {
    LINE_FORMAT_TEXT,
    LINE_FORMAT_JSON,
};

struct clock_source;

struct log {
    struct clock_source *clock;
    enum log_level level; /* lines below it are dropped */
    enum log_format format;
    int fd;                  /* where lines go: 2, or a test's pipe */
    uint64_t window_start_s; /* second in which `window_lines` were written */
    uint32_t window_lines;
    uint32_t lines_per_s_max; /* 0 = no cap; beyond it lines are counted, and the count is logged.
                                 The last eighth is for warnings and errors. */
    uint64_t dropped;         /* lines dropped since the last report of it, */
    uint64_t dropped_total;   /* and since the start */
};

/* One field of a line. Values are escaped, control bytes included; never pass secrets. */
struct log_field {
    const char *key;
    const char *text; /* used when `is_number` is false; NULL is written as "" */
    int64_t number;
    bool is_number;
};

#define FIELD_TEXT(key_, text_) ((struct log_field){.key = (key_), .text = (text_)})
#define FIELD_NUMBER(key_, number_)                                                                \
    ((struct log_field){.key = (key_), .number = (int64_t)(number_), .is_number = true})

/* Settings with the defaults: level info, text, stderr, 1000 lines per second. */
void log_init(struct log *log, struct clock_source *clock);

/* Writes one line; `event` is a constant in lower_snake. A line is at most 4 KiB; longer values are
 * cut. A NULL log is silence, so that tests need none. */
void log_write(struct log *log, enum log_level level, const char *event,
               const struct log_field *fields, unsigned field_count);

/* log_event(log, LEVEL_INFO, "listening", FIELD_TEXT("address", text), FIELD_NUMBER("port", 1)) */
#define log_event(log_, level_, event_, ...)                                                       \
    do {                                                                                           \
        const struct log_field log_fields_[] = {__VA_ARGS__};                                      \
        log_write((log_), (level_), (event_), log_fields_,                                         \
                  (unsigned)(sizeof(log_fields_) / sizeof(log_fields_[0])));                       \
    } while (0)

#endif
