/*
 * Any text as configuration: a mistake in it is an error and nothing worse, and what was accepted
 * prints to a text that is accepted and prints the same.
 */
#include "service/config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

static char *as_text(const void *data, size_t size)
{
    char *text = malloc(size + 1);

    must(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    return text;
}

/* Loads, and returns what it prints to, without the comments: these name the lines of the input.
 * NULL when the text is refused. */
static char *load_and_print(const char *text)
{
    static struct config config;
    struct buf errors = {0};
    struct buf printed = {0};
    char *result = NULL;
    int loaded = config_load_text(&config, "input", text, NULL, &errors);

    must(loaded == 0 || loaded == CONFIG_E_INVALID);
    must((loaded == 0) == (buf_size(&errors) == 0));
    if (loaded == 0) {
        struct bytes bytes;
        char *to;

        must(config_print(&config, &printed) == 0);
        bytes = buf_bytes(&printed);
        result = as_text(bytes.data, bytes.size);
        to = result;
        for (const char *from = result; *from != '\0'; from++) {
            if (from[0] == ' ' && from[1] == ';') {
                from += strcspn(from, "\n");
            }
            *to++ = *from;
        }
        *to = '\0';
    }
    config_deinit(&config);
    buf_deinit(&errors);
    buf_deinit(&printed);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = as_text(data, size);
    char *printed = load_and_print(text);

    /* In a value that begins with `;` INI sees a comment, the second time. */
    if (printed != NULL && strchr(text, ';') == NULL) {
        char *again = load_and_print(printed);

        must(again != NULL);
        must(strcmp(printed, again) == 0);
        free(again);
    }
    free(printed);
    free(text);
    return 0;
}
