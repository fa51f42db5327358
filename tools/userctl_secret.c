#include "userctl_secret.h"

#include "common_output.h"
#include "core/slurp.h"
#include "userctl_input.h"

#include <userd/client.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define SECRET_SIZE_MAX   16384
#define PASSWORD_SIZE_MAX 1024 /* with its NUL, when it is typed */
#define SLICE_MS          100  /* a signal is noticed within it */

#define ASK_E_CANCELLED (-1) /* by Ctrl-C or a signal */
#define ASK_E_TOO_LONG  (-2)
#define ASK_E_TERMINAL  (-3)

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
    int ret = userctl_input_read(path, SECRET_SIZE_MAX, ret_text, ret_size);

    if (ret == -EINTR) {
        return (int)USERD_CANCELLED; /* who did it knows */
    }
    if (ret == SLURP_E_TOO_LARGE) {
        return userctl_arguments_refuse(arguments, "%s holds more than %d bytes", name,
                                        SECRET_SIZE_MAX);
    }
    if (ret != 0) {
        return userctl_arguments_refuse(arguments, "cannot read %s: %s", name, strerror(-ret));
    }
    return 0;
}

/* Signals that end us. They wait while the terminal is silent: it would stay so. */
static void ending_signals(sigset_t *ret_signals)
{
    (void)sigemptyset(ret_signals);
    (void)sigaddset(ret_signals, SIGHUP);
    (void)sigaddset(ret_signals, SIGINT);
    (void)sigaddset(ret_signals, SIGQUIT);
    (void)sigaddset(ret_signals, SIGTERM);
}

static bool is_to_end(void)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    sigset_t pending;

    if (sigpending(&pending) != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (sigismember(&pending, numbers[i]) == 1) {
            return true;
        }
    }
    return false;
}

/* The next key; false when there is none any more, or a signal waits. */
static bool next_key(int terminal, char *ret_key)
{
    struct pollfd ready = {.fd = terminal, .events = POLLIN};

    while (!is_to_end()) {
        if (poll(&ready, 1, SLICE_MS) > 0) {
            return read(terminal, ret_key, 1) == 1;
        }
    }
    return false;
}

/* The size without its last character, of one or more bytes. */
static size_t take_back(const char *line, size_t size)
{
    while (size > 0 && ((unsigned char)line[size - 1] & 0xc0) == 0x80) {
        size--;
    }
    return size > 0 ? size - 1 : 0;
}

/* Reads keys until the line ends, showing nothing. The terminal sends every key by itself and no
 * signals. Returns the length, or ASK_E_*. */
static int read_line(int terminal, char *line, size_t room)
{
    size_t size = 0;
    bool is_too_long = false;
    char key;

    for (;;) {
        if (!next_key(terminal, &key) || key == KEY_INTERRUPT) {
            return ASK_E_CANCELLED;
        }
        if (key == '\n' || key == '\r' || key == KEY_END) {
            break;
        }
        if (key == KEY_ERASE_LINE) {
            size = 0;
            is_too_long = false;
        } else if (key == KEY_BACKSPACE || key == KEY_DELETE) {
            size = take_back(line, size);
        } else if (size + 1 < room) {
            line[size++] = key;
        } else {
            is_too_long = true;
        }
    }
    line[size] = '\0';
    return is_too_long ? ASK_E_TOO_LONG : (int)size;
}

static int ask_once(int terminal, const char *question, char *line, size_t room)
{
    struct termios before;
    struct termios silent;
    sigset_t signals;
    sigset_t old;
    int size;

    if (tcgetattr(terminal, &before) != 0) {
        return ASK_E_TERMINAL;
    }
    silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ICANON | ISIG | IEXTEN);
    silent.c_cc[VMIN] = 1;
    silent.c_cc[VTIME] = 0;
    ending_signals(&signals);
    (void)sigprocmask(SIG_BLOCK, &signals, &old);
    if (tcsetattr(terminal, TCSAFLUSH, &silent) != 0) {
        (void)sigprocmask(SIG_SETMASK, &old, NULL);
        return ASK_E_TERMINAL;
    }
    (void)dprintf(terminal, "%s",
                  question); /* a prompt that cannot be shown is no reason to stop */
    size = read_line(terminal, line, room);
    (void)dprintf(terminal, "\n");
    (void)tcsetattr(terminal, TCSAFLUSH, &before);
    (void)sigprocmask(SIG_SETMASK, &old, NULL); /* a signal that waits ends us here */
    return size;
}

static int refuse_asked(const struct userctl_arguments *arguments, int error)
{
    if (error == ASK_E_CANCELLED) {
        return (int)USERD_CANCELLED; /* who did it knows */
    }
    return error == ASK_E_TOO_LONG
               ? userctl_arguments_refuse(arguments, "the password is longer than %d bytes",
                                          PASSWORD_SIZE_MAX - 1)
               : userctl_arguments_refuse(arguments, "the terminal cannot be used to ask for the "
                                                     "password");
}

/* Asks twice, for nobody sees what they type. */
static int ask(const struct userctl_arguments *arguments, char **ret_password, size_t *ret_size)
{
    char again[PASSWORD_SIZE_MAX] = "";
    char *line = calloc(1, sizeof(again));
    int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
    int size = ASK_E_TERMINAL;
    int ret = 0;

    if (line == NULL || terminal < 0) {
        ret = userctl_arguments_refuse(arguments, "there is no terminal to ask for the password "
                                                  "on: use --password-stdin or --password-file");
    } else {
        size = ask_once(terminal, "Password: ", line, sizeof(again));
    }
    if (ret == 0 && size >= 0) {
        int size_again = ask_once(terminal, "The same again: ", again, sizeof(again));

        size = size_again < 0 ? size_again : size;
    }
    if (ret == 0 && size < 0) {
        ret = refuse_asked(arguments, size);
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
    /* The room behind is wiped here: whoever frees it knows the size alone. */
    explicit_bzero(line + size, sizeof(again) - (size_t)size);
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

bool userctl_secret_is_rotated(const struct userctl_arguments *arguments)
{
    return arguments->token == NULL && arguments->token_file != NULL &&
           strcmp(arguments->token_file, "-") != 0;
}

int userctl_secret_token(const struct userctl_arguments *arguments, char **ret_token,
                         size_t *ret_size)
{
    char *token;
    size_t size;
    int ret;

    *ret_token = NULL;
    *ret_size = 0;
    if ((arguments->token == NULL && arguments->token_file == NULL) ||
        userctl_secret_is_rotated(arguments)) {
        return 0;
    }
    if (arguments->token != NULL) {
        token = strdup(arguments->token);
        if (token == NULL) {
            (void)fputs("userctl: out of memory\n", stderr);
            return COMMON_EXIT_SOFTWARE;
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
