#include "userctl_terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH_MAX 10000

static bool colors_output;
static bool colors_errors;

bool userctl_terminal_wants_color(const char *color, bool is_terminal, const char *no_color,
                                  const char *term)
{
    if (strcmp(color, "auto") != 0) {
        return strcmp(color, "always") == 0;
    }
    return is_terminal && (no_color == NULL || no_color[0] == '\0') && term != NULL &&
           term[0] != '\0' && strcmp(term, "dumb") != 0;
}

void userctl_terminal_begin(const char *color)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");

    colors_output = userctl_terminal_wants_color(color, isatty(STDOUT_FILENO) == 1, no_color, term);
    colors_errors = userctl_terminal_wants_color(color, isatty(STDERR_FILENO) == 1, no_color, term);
}

static bool is_colored(const FILE *out)
{
    return (out == stdout && colors_output) || (out == stderr && colors_errors);
}

const char *userctl_style(FILE *out, enum userctl_style style)
{
    static const char *const styles[] = {
        [USERCTL_STYLE_NONE] = "",          [USERCTL_STYLE_TITLE] = "\033[1m",
        [USERCTL_STYLE_GOOD] = "\033[32m",  [USERCTL_STYLE_WARNING] = "\033[33m",
        [USERCTL_STYLE_BAD] = "\033[1;31m", [USERCTL_STYLE_HINT] = "\033[36m",
        [USERCTL_STYLE_FAINT] = "\033[2m",
    };

    return is_colored(out) ? styles[style] : "";
}

const char *userctl_style_end(FILE *out)
{
    return is_colored(out) ? "\033[0m" : "";
}

int userctl_terminal_width(void)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size = {0};
    long width = 0;

    if (isatty(STDOUT_FILENO) != 1) {
        return 0;
    }
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    if (columns != NULL) {
        width = strtol(columns, NULL, 10);
    }
    return width > 0 && width < WIDTH_MAX ? (int)width : 0;
}

void userctl_terminal_fit(int *columns, const int *least, int count, int width)
{
    int sum = 0;

    for (int i = 0; i < count; i++) {
        sum += columns[i];
    }
    for (; width > 0 && sum > width; sum--) {
        int widest = -1;

        for (int i = 0; i < count; i++) {
            if (columns[i] > least[i] && (widest < 0 || columns[i] > columns[widest])) {
                widest = i;
            }
        }
        if (widest < 0) {
            return;
        }
        columns[widest]--;
    }
}
