/*
 * The files besides the INI that a reload reads again, and a print of what each held.
 *
 * Owns:    nothing.
 * Borrows: the texts of the configuration, for the call.
 * Thread:  any; looking blocks.
 */
#ifndef SERVICE_APP_FILES_H
#define SERVICE_APP_FILES_H

#include "core/digest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;

enum app_file {
    APP_FILE_CERT,
    APP_FILE_KEY,
    APP_FILE_CLIENT_CA,
    APP_FILE_CRL,
    APP_FILE_SECRET,
    APP_FILE_JWKS,
};

#define APP_FILE_COUNT 6

/* Sets of files, by 1 << enum app_file. */
#define APP_FILES_TLS                                                                              \
    (1U << APP_FILE_CERT | 1U << APP_FILE_KEY | 1U << APP_FILE_CLIENT_CA | 1U << APP_FILE_CRL)
#define APP_FILES_KEYS (1U << APP_FILE_SECRET | 1U << APP_FILE_JWKS)

/* What the files held, as far as a reload would notice: content, owner and rights. */
struct app_files {
    uint8_t prints[APP_FILE_COUNT][DIGEST_SIZE];
};

/* Looks at all files of the configuration. One that is not there, or not used, has a print too. */
void app_files_look(const struct config *config, struct app_files *ret_files);

/* The set of those that differ. */
unsigned app_files_compare(const struct app_files *before, const struct app_files *now);

/* The paths in use. Returns their number. */
unsigned app_files_paths(const struct config *config, const char *ret_paths[APP_FILE_COUNT]);

/* "tls.cert_file, tls.key_file": the options of a set, cut where `room` ends. */
void app_files_name(unsigned set, char *out, size_t room);

#endif
