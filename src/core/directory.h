/*
 * Makes a directory that survives a power cut.
 *
 * Owns, borrows: nothing.
 * Thread:  start-up only; blocks.
 */
#ifndef CORE_DIRECTORY_H
#define CORE_DIRECTORY_H

/* Makes the directory and those above it that are missing, all with mode 0700, each synced into the
 * one it stands in. Nothing happens when it is there already (as a directory or not).
 *
 * Returns 0 or negative errno. */
int directory_make(const char *path);

#endif
