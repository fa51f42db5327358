#include "client/service_config_internal.h"

#include <jansson.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S      1000000000ULL
#define FRACTION_SIZE 9                             /* digits of a second */
#define SECONDS_MAX   315576000000ULL               /* what google.protobuf.Duration holds */
#define SECONDS_TAKEN (100ULL * 366 * 24 * 60 * 60) /* more counts as this: sums stay in range */

/* What people typed may hold what a terminal would obey. */
static void make_safe(char *problem)
{
    for (; *problem != '\0'; problem++) {
        if ((unsigned char)*problem < ' ' || *problem == 0x7f) {
            *problem = '?';
        }
    }
}

int service_config_refuse(const struct service_config_reading *reading, const char *where,
                          const char *member, const char *format, ...)
{
    size_t used;
    va_list arguments;

    (void)snprintf(reading->problem, SERVICE_CONFIG_PROBLEM_SIZE, "%s%s%s: ", where,
                   where[0] == '\0' || member[0] == '\0' ? "" : ".", member);
    used = strlen(reading->problem);
    va_start(arguments, format);
    (void)vsnprintf(reading->problem + used, SERVICE_CONFIG_PROBLEM_SIZE - used, format, arguments);
    va_end(arguments);
    make_safe(reading->problem);
    return SERVICE_CONFIG_E_BAD;
}

/* -------------------------------------------------------------------------------------- members */

const json_t *service_config_member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    return json_is_null(value) ? NULL : value;
}

static bool is_whole(double value)
{
    return value >= -9e15 && value <= 9e15 && value == (double)(int64_t)value;
}

bool service_config_read_whole(const json_t *value, int64_t *ret_number)
{
    const char *text = json_string_value(value);
    size_t digits;

    if (json_is_integer(value)) {
        *ret_number = json_integer_value(value);
        return true;
    }
    if (json_is_real(value) && is_whole(json_real_value(value))) {
        *ret_number = (int64_t)json_real_value(value);
        return true;
    }
    digits = text == NULL ? 0 : strspn(text, "0123456789");
    if (digits == 0 || digits > 10 || text[digits] != '\0') {
        return false;
    }
    *ret_number = strtoll(text, NULL, 10);
    return true;
}

int service_config_read_number(const struct service_config_reading *reading, const json_t *object,
                               const char *where, const char *name, uint32_t most, uint32_t *number)
{
    const json_t *value = service_config_member(object, name);
    int64_t found = 0;

    if (value == NULL) {
        return 0;
    }
    if (!service_config_read_whole(value, &found) || found < 1 || found > (int64_t)most) {
        return service_config_refuse(reading, where, name, "it must be a whole number from 1 to %u",
                                     most);
    }
    *number = (uint32_t)found;
    return 0;
}

int service_config_read_flag(const struct service_config_reading *reading, const json_t *object,
                             const char *where, const char *name, bool *ret_is_there,
                             bool *ret_flag)
{
    const json_t *value = service_config_member(object, name);

    *ret_is_there = value != NULL;
    if (value != NULL && !json_is_boolean(value)) {
        return service_config_refuse(reading, where, name, "it must be true or false");
    }
    *ret_flag = json_is_true(value);
    return 0;
}

/* "1.5s" into nanoseconds. False when it is no duration of protobuf's JSON. */
static bool parse_duration(const char *text, uint64_t *ret_ns)
{
    uint64_t seconds = 0;
    uint64_t fraction = 0;
    size_t size = strspn(text, "0123456789");
    const char *rest = text + size;

    if (size == 0 || size > 18) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        seconds = seconds * 10 + (uint64_t)(text[i] - '0');
    }
    if (*rest == '.') {
        size = strspn(rest + 1, "0123456789");
        if (size == 0 || size > FRACTION_SIZE) {
            return false;
        }
        for (size_t i = 1; i <= FRACTION_SIZE; i++) {
            fraction = fraction * 10 + (i <= size ? (uint64_t)(rest[i] - '0') : 0);
        }
        rest += 1 + size;
    }
    if (strcmp(rest, "s") != 0 || seconds > SECONDS_MAX) {
        return false;
    }
    *ret_ns = (seconds < SECONDS_TAKEN ? seconds : SECONDS_TAKEN) * NS_PER_S + fraction;
    return true;
}

int service_config_read_duration(const struct service_config_reading *reading, const json_t *object,
                                 const char *where, const char *name, uint64_t *ns)
{
    const json_t *value = service_config_member(object, name);
    const char *text = json_string_value(value);
    uint64_t found = 0;

    if (value == NULL) {
        return 0;
    }
    if (text == NULL || !parse_duration(text, &found) || found == 0) {
        return service_config_refuse(
            reading, where, name, "it must be a time above 0, in seconds, as a text like \"1.5s\"");
    }
    *ns = found;
    return 0;
}

int service_config_read_thousandths(const struct service_config_reading *reading,
                                    const json_t *object, const char *where, const char *name,
                                    uint32_t most, uint32_t *thousandths)
{
    const json_t *value = service_config_member(object, name);
    double found = json_number_value(value) * 1000 + 1e-6; /* 0.29 is a little less in binary */

    if (value == NULL) {
        return 0;
    }
    if (!json_is_number(value) || !(found >= 1)) {
        return service_config_refuse(reading, where, name, "it must be a number, 0.001 at least");
    }
    *thousandths = found >= (double)most ? most : (uint32_t)found;
    return 0;
}
