#include "common_json.h"

#include <userd/client.h>

#include <inttypes.h>

/* Bytes of the character that begins here; 0 when it is not UTF-8. */
static size_t character_size(const uint8_t *text, size_t left)
{
    uint8_t least = text[0] == 0xe0 ? 0xa0 : text[0] == 0xf0 ? 0x90 : 0x80; /* second byte */
    uint8_t most = text[0] == 0xed ? 0x9f : text[0] == 0xf4 ? 0x8f : 0xbf;
    size_t size = text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;

    if (text[0] < 0x80) {
        return 1;
    }
    if (text[0] < 0xc2 || text[0] > 0xf4 || size > left || text[1] < least || text[1] > most) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

/* C0, DEL, or C1, which a terminal may obey. */
static bool is_control(const uint8_t *text, size_t size)
{
    return (size == 1 && (text[0] < ' ' || text[0] == 0x7f)) ||
           (size == 2 && text[0] == 0xc2 && text[1] <= 0x9f);
}

void common_json_plain(FILE *out, struct bytes text)
{
    while (text.size > 0) {
        size_t size = character_size(text.data, text.size);

        if (size == 0 || is_control(text.data, size)) {
            size = size == 0 ? 1 : size;
            (void)fprintf(out, "\\x%02x", text.data[size - 1]);
        } else {
            (void)fwrite(text.data, 1, size, out);
        }
        text = (struct bytes){text.data + size, text.size - size};
    }
}

void common_json_quote(FILE *out, struct bytes text)
{
    (void)fputc('"', out);
    while (text.size > 0) {
        size_t size = character_size(text.data, text.size);

        if (size == 0) {
            (void)fputs("\\ufffd", out);
            size = 1;
        } else if (text.data[0] == '"' || text.data[0] == '\\') {
            (void)fprintf(out, "\\%c", text.data[0]);
        } else if (is_control(text.data, size)) {
            (void)fprintf(out, "\\u%04x", text.data[size - 1]);
        } else {
            (void)fwrite(text.data, 1, size, out);
        }
        text = (struct bytes){text.data + size, text.size - size};
    }
    (void)fputc('"', out);
}

static void put_name(struct common_json *json, const char *name)
{
    if (json->needs_comma) {
        (void)fputc(',', json->out);
    }
    if (name != NULL) {
        (void)fprintf(json->out, "\"%s\":", name);
    }
    json->needs_comma = true;
}

static void put_opening(struct common_json *json, const char *name, char opening)
{
    put_name(json, name);
    (void)fputc(opening, json->out);
    json->needs_comma = false;
}

static void put_closing(struct common_json *json, char closing)
{
    (void)fputc(closing, json->out);
    json->needs_comma = true;
}

void common_json_open(struct common_json *json, const char *name)
{
    put_opening(json, name, '{');
}

void common_json_close(struct common_json *json)
{
    put_closing(json, '}');
}

void common_json_open_list(struct common_json *json, const char *name)
{
    put_opening(json, name, '[');
}

void common_json_close_list(struct common_json *json)
{
    put_closing(json, ']');
}

void common_json_member(struct common_json *json, const char *name, struct bytes text)
{
    if (text.size > 0) {
        common_json_text(json, name, text);
    }
}

void common_json_int64_member(struct common_json *json, const char *name, int64_t number)
{
    if (number != 0) {
        common_json_int64(json, name, number);
    }
}

void common_json_end_line(struct common_json *json)
{
    (void)fputc('\n', json->out);
    json->needs_comma = false;
}

void common_json_text(struct common_json *json, const char *name, struct bytes text)
{
    put_name(json, name);
    common_json_quote(json->out, text);
}

void common_json_words(struct common_json *json, const char *name, const char *words)
{
    common_json_text(json, name, bytes_from_text(words));
}

void common_json_number(struct common_json *json, const char *name, uint64_t number)
{
    put_name(json, name);
    (void)fprintf(json->out, "%" PRIu64, number);
}

void common_json_int64(struct common_json *json, const char *name, int64_t number)
{
    put_name(json, name);
    (void)fprintf(json->out, "\"%" PRId64 "\"", number);
}

void common_json_status(struct common_json *json, int32_t status)
{
    const char *name = userd_user_status_name(status);

    if (status != 0 && name != NULL) {
        common_json_words(json, "status", name);
    } else if (status != 0) {
        put_name(json, "status");
        (void)fprintf(json->out, "%" PRId32, status);
    }
}

void common_json_bool(struct common_json *json, const char *name, bool value)
{
    put_name(json, name);
    (void)fputs(value ? "true" : "false", json->out);
}

void common_json_null(struct common_json *json, const char *name)
{
    put_name(json, name);
    (void)fputs("null", json->out);
}
