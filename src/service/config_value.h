/*
 * One configuration value: text to field and back. Pure.
 *
 * Owns:    nothing; the fields own their texts.
 * Thread:  any.
 */
#ifndef SERVICE_CONFIG_VALUE_H
#define SERVICE_CONFIG_VALUE_H

#include "core/buf.h"
#include "service/config_table.h"

#include <stddef.h>

struct config_list;

#define CONFIG_VALUE_E_BAD 1 /* not of this type, or out of range */

/* Sets the field from text, freeing what it held. Returns 0, CONFIG_VALUE_E_BAD or -ENOMEM, both
 * with the field unchanged. */
int config_value_parse(const struct config_option *option, const char *text, void *field);

/* Appends the value as config_value_parse() would read it. Returns 0 or -ENOMEM. */
int config_value_format(const struct config_option *option, const void *field, struct buf *out);

/* What may stand there, for people: "a whole number of seconds from 0 to 3600". */
void config_value_describe(const struct config_option *option, char *out, size_t room);

/* Frees and clears the field. */
void config_value_deinit(const struct config_option *option, void *field);

/* Puts another port into every host:port of the list. Returns 0 or -ENOMEM. */
int config_value_set_port(struct config_list *list, unsigned port);

#endif
