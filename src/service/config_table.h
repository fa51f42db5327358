/*
 * The table of options: one row per option, and nothing about an option stands anywhere else but in
 * configs/userd.ini, which a test holds against it.
 *
 * Owns, borrows: nothing; the rows are constants.
 * Thread:  any.
 */
#ifndef SERVICE_CONFIG_TABLE_H
#define SERVICE_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_type {
    CONFIG_TYPE_TEXT,      /* char *, printable */
    CONFIG_TYPE_PATH,      /* char *, a file or folder, relative to the working directory */
    CONFIG_TYPE_ADDRESSES, /* struct config_list of host:port, [v6]:port, unix:/path */
    CONFIG_TYPE_ADDRESS,   /* char *, one of these; "off" in the file, "" here: none */
    CONFIG_TYPE_INT,       /* uint64_t */
    CONFIG_TYPE_SIZE,      /* uint64_t bytes; K, M and G are understood */
    CONFIG_TYPE_BOOL,      /* bool */
    CONFIG_TYPE_ENUM,      /* unsigned: position in `choices` */
};

struct config_option {
    const char *section;
    const char *key;
    enum config_type type;
    const char *fallback; /* the default, as it would stand in the file */
    uint64_t least;       /* of numbers and sizes; of texts: bytes */
    uint64_t most;
    const char *unit;           /* of numbers: "seconds", "KiB" ..., "" */
    const char *const *choices; /* names, NULL at the end */
    const char *help;
    size_t offset;         /* of the field in struct config */
    bool reloadable;       /* SIGHUP takes it; else the next start does */
    bool secret;           /* never shown */
    bool environment_only; /* too secret for the file */
};

extern const struct config_option config_options[];
extern const unsigned config_option_count;

/* NULL when there is none. */
const struct config_option *config_option_find(const char *section, const char *key);

bool config_section_is_known(const char *section);

/* The known name nearest to a mistyped one, or NULL when none is near. `section` NULL: looks among
 * the sections, else among its keys. */
const char *config_option_nearest(const char *section, const char *name);

#endif
