/*
 * How a tool ends: its exit codes, and its standard output.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_COMMON_OUTPUT_H
#define TOOLS_COMMON_OUTPUT_H

#define COMMON_EXIT_USAGE         64
#define COMMON_EXIT_DAMAGED       65
#define COMMON_EXIT_SOFTWARE      70 /* no memory, and the like */
#define COMMON_EXIT_IO            74 /* a file could not be read, or output not be written */
#define COMMON_EXIT_IN_USE        75
#define COMMON_EXIT_CONFIGURATION 78 /* io_uring is forbidden here */
#define COMMON_EXIT_NO_READER                                                                      \
    141 /* nobody reads the output: as of a program that SIGPIPE ended                             \
         */

/* First of all. */
void common_output_begin(void);

/* Writes out what waits on standard output. Returns 0, COMMON_EXIT_IO after it has said why, or
 * COMMON_EXIT_NO_READER, which is nothing to speak of. */
int common_output_finish(const char *program);

#endif
