/*
 * Two configurations compared, option by option: what a reload brings. Pure.
 *
 * Owns:    nothing.
 * Borrows: both configurations, for the call.
 * Thread:  any.
 */
#ifndef SERVICE_CONFIG_DIFF_H
#define SERVICE_CONFIG_DIFF_H

#include "service/config.h"

#include <stdbool.h>
#include <stddef.h>

struct config_diff {
    bool changed[CONFIG_OPTIONS_MAX]; /* in the order of the table */
    unsigned taken;                   /* of them, can be taken now */
    unsigned kept;                    /* of them, need a restart */
    bool policy;                      /* the rules of [policy] are others; can be taken now */
};

void config_diff(const struct config *old, const struct config *fresh, struct config_diff *ret);

/* Did an option of the section change that can be taken now? */
bool config_diff_touches(const struct config_diff *diff, const char *section);

/* Names the changed options that can be taken now, or else those that need a restart:
 * "log.level, policy". Cut with "..." where `room` ends. */
void config_diff_name(const struct config_diff *diff, bool taken, char *out, size_t room);

/* Takes over what needs no restart, with its origins. `fresh` gets what was there before. */
void config_diff_take(struct config *in_force, struct config *fresh);

#endif
