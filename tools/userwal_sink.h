/*
 * Where an import goes: to a log in a folder inside of the new data directory, whose files move up
 * into it when all is well; or, when it is only tried, nowhere. What is committed goes into the
 * store of the engine.
 *
 * Owns:    the log, the lock of the directory.
 * Borrows: the engine, the path; mutations until their `done`.
 * Thread:  one; blocks, but for userwal_sink_submit().
 */
#ifndef TOOLS_USERWAL_SINK_H
#define TOOLS_USERWAL_SINK_H

#include "core/wal.h"
#include "service/commit_log.h"

#include <stdbool.h>
#include <stdint.h>

struct disk;
struct userwal_engine;

struct userwal_sink {
    const char *path;
    struct userwal_engine *engine;
    struct disk *outer;     /* the directory; NULL when it is only tried, and so are these: */
    struct disk *disk;      /* the folder in it */
    struct commit_log *log; /* in that */
    bool is_closed;
    bool has_failed;
    uint64_t revision; /* when it is only tried */
    char problem[WAL_PROBLEM_SIZE];
};

/* The directory must be empty, or not be there. From then on it is the working directory, unless
 * it is only tried. Returns 0, or an exit code after it has said why; then there is nothing to
 * close. */
int userwal_sink_open(struct userwal_sink *sink, const char *path, struct userwal_engine *engine,
                      bool is_trial);

/* `done` runs from userwal_sink_turn(), or inside when it is only tried. */
void userwal_sink_submit(struct userwal_sink *sink, struct commit_mutation *mutation);

/* Lets the log work for a while. Returns 0, or an exit code after it has said why. */
int userwal_sink_turn(struct userwal_sink *sink);

/* Whether all went well so far. Returns as above. */
int userwal_sink_check(const struct userwal_sink *sink);

/* Ends it; nothing may be on its way. `keep`: the directory gets what was written, and holds so
 * many users; otherwise it is empty again. Returns as above; then it is empty too. */
int userwal_sink_close(struct userwal_sink *sink, bool keep, uint64_t users);

#endif
