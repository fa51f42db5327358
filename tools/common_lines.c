#include "common_lines.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_SIZE (COMMON_LINE_SIZE_MAX + 1) /* with the line end */

int common_lines_open(const char *path, struct common_lines *ret_lines)
{
    bool is_stdin = strcmp(path, "-") == 0;
    struct common_lines lines = {.fd = STDIN_FILENO};
    struct stat about;

    if (!is_stdin) {
        lines.fd = open(path, O_RDONLY | O_CLOEXEC);
        if (lines.fd < 0) {
            return -errno;
        }
    }
    lines.data = malloc(BUFFER_SIZE);
    if (lines.data == NULL) {
        if (!is_stdin) {
            (void)close(lines.fd); /* nothing was written to it */
        }
        return -ENOMEM;
    }
    if (fstat(lines.fd, &about) == 0 && S_ISREG(about.st_mode)) {
        lines.size = (uint64_t)about.st_size;
    }
    *ret_lines = lines;
    return 0;
}

void common_lines_close(struct common_lines *lines)
{
    explicit_bzero(lines->data, BUFFER_SIZE);
    free(lines->data);
    if (lines->fd != STDIN_FILENO) {
        (void)close(lines->fd); /* nothing was written to it */
    }
}

/* Reads more behind what is there. Returns 0, COMMON_LINES_E_WAIT or negative errno. */
static int fill(struct common_lines *lines)
{
    struct pollfd ready = {.fd = lines->fd, .events = POLLIN};
    ssize_t size;

    memmove(lines->data, lines->data + lines->start, lines->end - lines->start);
    lines->end -= lines->start;
    lines->start = 0;
    assert(lines->end < BUFFER_SIZE);
    if (poll(&ready, 1, 0) <= 0) {
        return COMMON_LINES_E_WAIT; /* nothing, or a signal: reading could wait for ever */
    }
    size = read(lines->fd, lines->data + lines->end, BUFFER_SIZE - lines->end);
    if (size < 0) {
        return errno == EINTR || errno == EAGAIN ? COMMON_LINES_E_WAIT : -errno;
    }
    lines->is_over = size == 0;
    lines->end += (size_t)size;
    return 0;
}

/* Takes `size` bytes off the front as a line, or as the end of one that was too long. */
static int take(struct common_lines *lines, size_t size, struct bytes *ret_line)
{
    const struct bytes mark = BYTES_LITERAL("\xef\xbb\xbf"); /* of UTF-8, by some editors */
    const uint8_t *line = (const uint8_t *)lines->data + lines->start;
    bool was_skipping = lines->is_skipping;

    lines->number++;
    lines->taken += size;
    lines->start += size;
    lines->is_skipping = false;
    if (was_skipping) {
        return COMMON_LINES_E_TOO_LONG;
    }
    *ret_line = (struct bytes){line, size > 0 && line[size - 1] == '\n' ? size - 1 : size};
    if (lines->number == 1 && ret_line->size >= mark.size &&
        memcmp(line, mark.data, mark.size) == 0) {
        *ret_line = (struct bytes){line + mark.size, ret_line->size - mark.size};
    }
    return 0;
}

int common_lines_next(struct common_lines *lines, struct bytes *ret_line)
{
    for (;;) {
        size_t size = lines->end - lines->start;
        const char *text = lines->data + lines->start;
        const char *line_end = memchr(text, '\n', size);
        int ret;

        if (line_end != NULL) {
            return take(lines, (size_t)(line_end - text) + 1, ret_line);
        }
        if (lines->is_over) {
            return size != 0 || lines->is_skipping ? take(lines, size, ret_line)
                                                   : COMMON_LINES_E_END;
        }
        if (size == BUFFER_SIZE) {
            lines->is_skipping = true;
            lines->taken += size;
            lines->start = lines->end;
        }
        ret = fill(lines);
        if (ret != 0) {
            return ret;
        }
    }
}

void common_lines_wait(const struct common_lines *lines)
{
    struct pollfd ready = {.fd = lines->fd, .events = POLLIN};

    (void)poll(&ready, 1, -1);
}

bool common_lines_is_blank(struct bytes line)
{
    for (size_t i = 0; i < line.size; i++) {
        uint8_t byte = line.data[i];

        if (byte != ' ' && byte != '\t' && byte != '\r') {
            return false;
        }
    }
    return true;
}
