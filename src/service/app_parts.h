/*
 * The parts of a server that a reload replaces, each made from a configuration: at the start and,
 * the same way, at every reload.
 *
 * Owns:    nothing; the caller gets what is made.
 * Borrows: the configuration, for the call.
 * Thread:  loop only; reads files, which blocks.
 */
#ifndef SERVICE_APP_PARTS_H
#define SERVICE_APP_PARTS_H

#include "core/log.h"
#include "service/config.h"

#include <stdint.h>

struct grpc_method_table;
struct policy;
struct tls_context;
struct token_keys;

#define APP_PROBLEM_SIZE 2048 /* of a log and a path */

/* These return EX_OK; or EX_CONFIG or EX_SOFTWARE with `problem` (APP_PROBLEM_SIZE bytes), which
 * names option, file, cause and remedy. */
int app_parts_tls(const struct config *config, char *problem, struct tls_context **ret_context);
int app_parts_policy(const struct config *config, const struct grpc_method_table *methods,
                     char *problem, struct policy **ret_policy);

/* A warning goes to the log when the key set has keys that userd cannot use. */
int app_parts_keys(const struct config *config, struct log *log, char *problem,
                   struct token_keys **ret_keys);

/* Refuses a file with a secret that everybody may access. One that cannot be looked at passes: who
 * reads it next says why it cannot. */
int app_parts_check_private(const char *option, const char *path, char *problem);

/* How a certificate stands with the time. */
enum app_certificate {
    APP_CERTIFICATE_GOOD,
    APP_CERTIFICATE_ENDING, /* within APP_CERTIFICATE_WARN_DAYS */
    APP_CERTIFICATE_EXPIRED,
};

#define APP_CERTIFICATE_WARN_DAYS 14

/* Both in seconds since 1970. */
enum app_certificate app_certificate_judge(int64_t not_after_s, int64_t now_s);

/* "2026-11-23T09:30:00Z" */
#define APP_TIME_SIZE 32
void app_time_format(int64_t time_s, char out[APP_TIME_SIZE]);

#endif
