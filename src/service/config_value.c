#include "service/config_value.h"

#include "service/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PORT_MAX         65535
#define NUMBER_TEXT_SIZE 32

/* Digits only: no sign, no blanks, no overflow. `*text` moves behind them. */
static bool parse_digits(const char **text, uint64_t *ret_number)
{
    const char *at = *text;
    uint64_t number = 0;

    if (*at < '0' || *at > '9') {
        return false;
    }
    for (; *at >= '0' && *at <= '9'; at++) {
        unsigned digit = (unsigned)(*at - '0');

        if (number > (UINT64_MAX - digit) / 10) {
            return false;
        }
        number = number * 10 + digit;
    }
    *text = at;
    *ret_number = number;
    return true;
}

/* K, KiB, M, MiB, G, GiB in any case: as powers of two. Returns 0 for anything else. */
static uint64_t parse_multiplier(const char *text)
{
    static const struct {
        const char *name;
        unsigned shift;
    } units[] = {
        {"", 0}, {"b", 0}, {"k", 10}, {"kib", 10}, {"m", 20}, {"mib", 20}, {"g", 30}, {"gib", 30},
    };

    while (*text == ' ') {
        text++;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcasecmp(text, units[i].name) == 0) {
            return 1ULL << units[i].shift;
        }
    }
    return 0;
}

static int parse_number(const struct config_option *option, const char *text, uint64_t *field)
{
    uint64_t number;
    uint64_t multiplier = 1;

    if (!parse_digits(&text, &number)) {
        return CONFIG_VALUE_E_BAD;
    }
    if (option->type == CONFIG_TYPE_SIZE) {
        multiplier = parse_multiplier(text);
    } else if (*text != '\0') {
        return CONFIG_VALUE_E_BAD;
    }
    if (multiplier == 0 || number > UINT64_MAX / multiplier) {
        return CONFIG_VALUE_E_BAD;
    }
    number *= multiplier;
    if (number < option->least || number > option->most) {
        return CONFIG_VALUE_E_BAD;
    }
    *field = number;
    return 0;
}

static int parse_bool(const char *text, bool *field)
{
    static const char *const names[] = {"false", "true", "no", "yes", "off", "on"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcasecmp(text, names[i]) == 0) {
            *field = i % 2 == 1;
            return 0;
        }
    }
    return CONFIG_VALUE_E_BAD;
}

static int parse_choice(const struct config_option *option, const char *text, unsigned *field)
{
    for (unsigned i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(text, option->choices[i]) == 0) {
            *field = i;
            return 0;
        }
    }
    return CONFIG_VALUE_E_BAD;
}

static int parse_text(const struct config_option *option, const char *text, char **field)
{
    char *copy;

    if (strlen(text) > option->most) {
        return CONFIG_VALUE_E_BAD;
    }
    for (const char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f) {
            return CONFIG_VALUE_E_BAD;
        }
    }
    copy = strdup(text);
    if (copy == NULL) {
        return -ENOMEM;
    }
    free(*field);
    *field = copy;
    return 0;
}

/* host:port, [v6]:port or unix:/path. Whether the host exists is found out when it is bound. */
static bool address_is_valid(const char *address)
{
    const char *colon = strrchr(address, ':');
    const char *port;
    uint64_t number;

    if (strncmp(address, "unix:", 5) == 0) {
        return address[5] != '\0';
    }
    if (colon == NULL || colon == address) {
        return false;
    }
    port = colon + 1;
    if (!parse_digits(&port, &number) || *port != '\0' || number > PORT_MAX) {
        return false;
    }
    if (address[0] == '[') {
        return colon[-1] == ']' && colon - address > 2;
    }
    return memchr(address, ':', (size_t)(colon - address)) == NULL &&
           memchr(address, ' ', (size_t)(colon - address)) == NULL;
}

static void list_deinit(struct config_list *list)
{
    for (unsigned i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    memset(list, 0, sizeof(*list));
}

/* Adds a piece of text without the blanks around it. */
static int list_add_address(struct config_list *list, const char *text, size_t size)
{
    char *item;

    while (size > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        size--;
    }
    while (size > 0 && (text[size - 1] == ' ' || text[size - 1] == '\t')) {
        size--;
    }
    if (list->count == CONFIG_LIST_MAX) {
        return CONFIG_VALUE_E_BAD;
    }
    item = strndup(text, size);
    if (item == NULL) {
        return -ENOMEM;
    }
    list->items[list->count++] = item;
    return address_is_valid(item) ? 0 : CONFIG_VALUE_E_BAD;
}

static int parse_addresses(const struct config_option *option, const char *text,
                           struct config_list *field)
{
    struct config_list list = {.count = 0};
    const char *at = text;
    int result = strlen(text) > option->most ? CONFIG_VALUE_E_BAD : 0;

    while (result == 0 && at != NULL) {
        const char *comma = strchr(at, ',');

        result = list_add_address(&list, at, comma == NULL ? strlen(at) : (size_t)(comma - at));
        at = comma == NULL ? NULL : comma + 1;
    }
    if (result != 0) {
        list_deinit(&list);
        return result;
    }
    list_deinit(field);
    *field = list;
    return 0;
}

/* One address, or nothing by the name of "off". */
static int parse_address(const struct config_option *option, const char *text, char **field)
{
    if (strcasecmp(text, "off") == 0) {
        text = "";
    }
    if (text[0] != '\0' && !address_is_valid(text)) {
        return CONFIG_VALUE_E_BAD;
    }
    return parse_text(option, text, field);
}

int config_value_parse(const struct config_option *option, const char *text, void *field)
{
    int result = CONFIG_VALUE_E_BAD;

    switch (option->type) {
    case CONFIG_TYPE_TEXT:
    case CONFIG_TYPE_PATH:
        result = parse_text(option, text, field);
        break;
    case CONFIG_TYPE_ADDRESSES:
        result = parse_addresses(option, text, field);
        break;
    case CONFIG_TYPE_ADDRESS:
        result = parse_address(option, text, field);
        break;
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_SIZE:
        result = parse_number(option, text, field);
        break;
    case CONFIG_TYPE_BOOL:
        result = parse_bool(text, field);
        break;
    case CONFIG_TYPE_ENUM:
        result = parse_choice(option, text, field);
        break;
    }
    return result;
}

/* A size in the largest unit that keeps it whole, so that it reads as it was written. */
static void format_size(uint64_t size, char *out, size_t room)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB"};
    unsigned unit = 0;

    while (unit < 3 && size != 0 && size % 1024 == 0) {
        size /= 1024;
        unit++;
    }
    (void)snprintf(out, room, "%" PRIu64 "%s", size, units[unit]);
}

static int append_text(struct buf *out, const char *text)
{
    return buf_append(out, text, strlen(text));
}

static int format_list(const struct config_list *list, struct buf *out)
{
    int result = 0;

    for (unsigned i = 0; i < list->count && result == 0; i++) {
        if (i > 0) {
            result = append_text(out, ", ");
        }
        if (result == 0) {
            result = append_text(out, list->items[i]);
        }
    }
    return result;
}

int config_value_format(const struct config_option *option, const void *field, struct buf *out)
{
    char number[NUMBER_TEXT_SIZE] = "";
    const char *text = number;

    switch (option->type) {
    case CONFIG_TYPE_TEXT:
    case CONFIG_TYPE_PATH:
        text = *(char *const *)field;
        break;
    case CONFIG_TYPE_ADDRESSES:
        return format_list(field, out);
    case CONFIG_TYPE_ADDRESS:
        text = *(char *const *)field;
        text = text[0] == '\0' ? "off" : text;
        break;
    case CONFIG_TYPE_INT:
        (void)snprintf(number, sizeof(number), "%" PRIu64, *(const uint64_t *)field);
        break;
    case CONFIG_TYPE_SIZE:
        format_size(*(const uint64_t *)field, number, sizeof(number));
        break;
    case CONFIG_TYPE_BOOL:
        text = *(const bool *)field ? "true" : "false";
        break;
    case CONFIG_TYPE_ENUM:
        text = option->choices[*(const unsigned *)field];
        break;
    }
    return append_text(out, text);
}

static void describe_choices(const struct config_option *option, char *out, size_t room)
{
    size_t used = 0;

    out[0] = '\0';
    for (unsigned i = 0; option->choices[i] != NULL && used < room; i++) {
        int size = snprintf(out + used, room - used, "%s%s", i == 0 ? "one of " : ", ",
                            option->choices[i]);

        used += size > 0 ? (size_t)size : 0;
    }
}

void config_value_describe(const struct config_option *option, char *out, size_t room)
{
    char least[NUMBER_TEXT_SIZE];
    char most[NUMBER_TEXT_SIZE];

    switch (option->type) {
    case CONFIG_TYPE_TEXT:
    case CONFIG_TYPE_PATH:
        (void)snprintf(out, room, "a text of at most %" PRIu64 " bytes without control characters",
                       option->most);
        break;
    case CONFIG_TYPE_ADDRESSES:
        (void)snprintf(
            out, room,
            "HOST:PORT, [IPV6]:PORT or unix:/PATH; up to %d of them, with commas between",
            CONFIG_LIST_MAX);
        break;
    case CONFIG_TYPE_ADDRESS:
        (void)snprintf(out, room, "HOST:PORT, [IPV6]:PORT, unix:/PATH or off");
        break;
    case CONFIG_TYPE_INT:
        (void)snprintf(out, room, "a whole number%s%s from %" PRIu64 " to %" PRIu64,
                       option->unit[0] == '\0' ? "" : " of ", option->unit, option->least,
                       option->most);
        break;
    case CONFIG_TYPE_SIZE:
        format_size(option->least, least, sizeof(least));
        format_size(option->most, most, sizeof(most));
        (void)snprintf(out, room, "a size from %s to %s, in bytes or with KiB, MiB or GiB", least,
                       most);
        break;
    case CONFIG_TYPE_BOOL:
        (void)snprintf(out, room, "true or false");
        break;
    case CONFIG_TYPE_ENUM:
        describe_choices(option, out, room);
        break;
    }
}

static void text_deinit(char **text, bool secret)
{
    if (*text != NULL && secret) {
        explicit_bzero(*text, strlen(*text));
    }
    free(*text);
    *text = NULL;
}

void config_value_deinit(const struct config_option *option, void *field)
{
    switch (option->type) {
    case CONFIG_TYPE_TEXT:
    case CONFIG_TYPE_PATH:
    case CONFIG_TYPE_ADDRESS:
        text_deinit(field, option->secret);
        break;
    case CONFIG_TYPE_ADDRESSES:
        list_deinit(field);
        break;
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_SIZE:
    case CONFIG_TYPE_BOOL:
    case CONFIG_TYPE_ENUM:
        break;
    }
}

int config_value_set_port(struct config_list *list, unsigned port)
{
    for (unsigned i = 0; i < list->count; i++) {
        const char *colon = strrchr(list->items[i], ':');
        char *item = NULL;

        if (strncmp(list->items[i], "unix:", 5) == 0) {
            continue;
        }
        if (asprintf(&item, "%.*s:%u", (int)(colon - list->items[i]), list->items[i], port) < 0) {
            return -ENOMEM;
        }
        free(list->items[i]);
        list->items[i] = item;
    }
    return 0;
}
