/*
 * Files that are built into the program; scripts/embed.sh makes them when it is built.
 *
 * Owns:    constants.
 * Thread:  any.
 */
#ifndef SERVICE_EMBEDDED_H
#define SERVICE_EMBEDDED_H

#include "core/bytes.h"

extern const struct bytes embedded_status_page; /* status_page.html, with its style and script */
extern const char *const embedded_status_page_policy; /* for the field Content-Security-Policy */
extern const struct bytes embedded_descriptors;       /* a FileDescriptorSet of all services */

#endif
