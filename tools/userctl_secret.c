#include "userctl_secret.h"

#include "core/slurp.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define SECRET_SIZE_MAX 16384

enum key {
    KEY_INTERRUPT = 3, /* Ctrl-C */
    KEY_END = 4,       /* Ctrl-D */
    KEY_BACKSPACE = 8,
    KEY_ERASE_LINE = 21, /* Ctrl-U */
    KEY_DELETE = 127,
};

static int read_secret_file(const struct userctl_arguments *arguments, const char *path,
                            char **ret_text, size_t *ret_size)
{
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    int ret = slurp_file(path, SECRET_SIZE_MAX, ret_text, ret_size);

    if (ret == SLURP_E_TOO_LARGE) {
        return userctl_arguments_refuse(arguments, "%s holds more than %d bytes", name,
                                        SECRET_SIZE_MAX);
    }
    if (ret != 0) {
        return userctl_arguments_refuse(arguments, "cannot read %s: %s", name, strerror(-ret));
    }
    return 0;
}

/* Reads keys until the line ends, showing nothing. The terminal sends every key by itself and no
 * signals, so that nothing can end us with the echo still off. Returns the length, or -1 for
 * Ctrl-C. */
static int read_line(int terminal, char *line, size_t room)
{
    size_t size = 0;
    char key;

    while (read(terminal, &key, 1) == 1) {
        if (key == KEY_INTERRUPT) {
            return -1;
        }
        if (key == '\n' || key == '\r' || key == KEY_END) {
            break;
        }
        if (key == KEY_ERASE_LINE) {
            size = 0;
        } else if (key == KEY_BACKSPACE || key == KEY_DELETE) {
            size -= size > 0 ? 1 : 0;
        } else if (size + 1 < room) {
            line[size++] = key;
        }
    }
    line[size] = '\0';
    return (int)size;
}

static int ask_once(int terminal, const char *question, char *line, size_t room)
{
    struct termios before;
    struct termios silent;
    int size;

    if (tcgetattr(terminal, &before) != 0) {
        return -1;
    }
    silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ICANON | ISIG | IEXTEN);
    silent.c_cc[VMIN] = 1;
    silent.c_cc[VTIME] = 0;
    if (tcsetattr(terminal, TCSAFLUSH, &silent) != 0) {
        return -1;
    }
    (void)dprintf(terminal, "%s",
                  question); /* a prompt that cannot be shown is no reason to stop */
    size = read_line(terminal, line, room);
    (void)dprintf(terminal, "\n");
    (void)tcsetattr(terminal, TCSAFLUSH, &before);
    return size;
}

/* Asks twice, for nobody sees what they type. */
static int ask(const struct userctl_arguments *arguments, char **ret_password, size_t *ret_size)
{
    char again[1024];
    char *line = calloc(1, sizeof(again));
    int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
    int size = -1;
    int ret = 0;

    if (line == NULL || terminal < 0) {
        ret = userctl_arguments_refuse(arguments, "there is no terminal to ask for the password "
                                                  "on: use --password-stdin or --password-file");
    } else {
        size = ask_once(terminal, "Password: ", line, sizeof(again));
    }
    if (ret == 0 && size >= 0 && ask_once(terminal, "The same again: ", again, sizeof(again)) < 0) {
        size = -1;
    }
    if (ret == 0 && size < 0) {
        ret = userctl_arguments_refuse(arguments, "no password was given");
    } else if (ret == 0 && strcmp(line, again) != 0) {
        ret = userctl_arguments_refuse(arguments, "the two passwords differ");
    }
    explicit_bzero(again, sizeof(again));
    if (terminal >= 0) {
        (void)close(terminal); /* nothing is lost with it */
    }
    if (ret != 0) {
        slurp_free(line, line == NULL ? 0 : sizeof(again));
        return ret;
    }
    *ret_password = line;
    *ret_size = (size_t)size;
    return 0;
}

/* Drops one line end, as an editor or echo leaves it. */
static void drop_line_end(char *text, size_t *size)
{
    if (*size > 0 && text[*size - 1] == '\n') {
        text[--*size] = '\0';
    }
    if (*size > 0 && text[*size - 1] == '\r') {
        text[--*size] = '\0';
    }
}

int userctl_secret_password(const struct userctl_arguments *arguments, char **ret_password,
                            size_t *ret_size)
{
    const char *path = arguments->password_stdin ? "-" : arguments->password_file;
    char *password;
    size_t size;
    int ret;

    if (arguments->password_stdin && arguments->password_file != NULL) {
        return userctl_arguments_refuse(arguments,
                                        "--password-stdin and --password-file are both given");
    }
    ret = path == NULL ? ask(arguments, &password, &size)
                       : read_secret_file(arguments, path, &password, &size);
    if (ret != 0) {
        return ret;
    }
    drop_line_end(password, &size);
    if (size == 0 || strlen(password) != size) {
        slurp_free(password, size);
        return userctl_arguments_refuse(
            arguments, size == 0 ? "the password is empty" : "the password has a zero byte in it");
    }
    *ret_password = password;
    *ret_size = size;
    return 0;
}

/* Only what may stand in a header field: everything printable but blanks. */
static int check_token(const struct userctl_arguments *arguments, const char *token, size_t size)
{
    if (size == 0) {
        return userctl_arguments_refuse(arguments, "the token is empty");
    }
    for (size_t i = 0; i < size; i++) {
        if (token[i] <= ' ' || token[i] > '~') {
            return userctl_arguments_refuse(arguments,
                                            "the token has a byte in it that no token has");
        }
    }
    return 0;
}

int userctl_secret_token(const struct userctl_arguments *arguments, char **ret_token,
                         size_t *ret_size)
{
    char *token;
    size_t size;
    int ret;

    *ret_token = NULL;
    *ret_size = 0;
    if (arguments->token == NULL && arguments->token_file == NULL) {
        return 0;
    }
    if (arguments->token != NULL) {
        token = strdup(arguments->token);
        if (token == NULL) {
            return userctl_arguments_refuse(arguments, "out of memory");
        }
        size = strlen(token);
    } else {
        ret = read_secret_file(arguments, arguments->token_file, &token, &size);
        if (ret != 0) {
            return ret;
        }
        drop_line_end(token, &size);
    }
    ret = check_token(arguments, token, size);
    if (ret != 0) {
        slurp_free(token, size);
        return ret;
    }
    *ret_token = token;
    *ret_size = size;
    return 0;
}
