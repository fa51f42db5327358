/*
 * What a policy must say, by reading its rules one after the other as they are written.
 *
 * Owns, borrows: nothing.
 * Thread:  any.
 */
#ifndef TESTS_LIB_POLICY_MODEL_H
#define TESTS_LIB_POLICY_MODEL_H

#include "service/policy.h"

#include <stdbool.h>

/* May the caller call the path? */
bool policy_model_may(const struct policy_rule *rules, unsigned count, const char *path,
                      const struct caller *caller);

/* Does a deny rule say no? */
bool policy_model_denies(const struct policy_rule *rules, unsigned count, const char *path,
                         const struct caller *caller);

#endif
