/*
 * 'userctl completion': scripts that make a shell complete the command line of userctl, from the
 * table of its commands and options.
 *
 * Owns, borrows: nothing.
 * Thread:  any.
 */
#ifndef TOOLS_USERCTL_COMPLETION_H
#define TOOLS_USERCTL_COMPLETION_H

#include <stdio.h>

void userctl_completion_bash(FILE *out);
void userctl_completion_zsh(FILE *out);

#endif
