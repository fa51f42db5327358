#include "client/token_file.h"

#include "core/secret.h"
#include "core/slurp.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/*
 * Each look reads the file, rather than asking first whether it has changed: a time stamp may be
 * the same for two changes that follow each other closely, and the file is small.
 */

#define LOOK_INTERVAL_NS 1000000000ULL
#define BLANKS           " \t\r\n"
#define PATH_SHOWN       200

struct token_file {
    char *path;
    char *token; /* of secret_alloc() */
    size_t size;
    uint64_t looked_ns;
    bool is_fixed; /* there is nothing to look at again */
    char problem[TOKEN_FILE_PROBLEM_SIZE];
};

static int tell(char *problem, const char *path, int error, const char *text)
{
    (void)snprintf(problem, TOKEN_FILE_PROBLEM_SIZE, "token file %.*s: %s", PATH_SHOWN, path, text);
    return error;
}

static const char *remedy_of(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return ": is the path right?";
    case EACCES:
    case EPERM:
        return ": may this user read it?";
    case EISDIR:
        return ": name a file in it";
    default:
        return "";
    }
}

static int tell_error(char *problem, const char *path, int result)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "%s%s", strerror(-result), remedy_of(-result));
    return tell(problem, path, result, text);
}

/* Where the token is in the text; the size in *ret_size. Returns NULL when there is none, with the
 * reason. */
static const char *find_token(const char *text, size_t size, size_t *ret_size, const char **why)
{
    size_t start = 0;
    size_t end = size;

    while (end > start && text[end - 1] != '\0' && strchr(BLANKS, text[end - 1]) != NULL) {
        end--;
    }
    while (start < end && text[start] != '\0' && strchr(BLANKS, text[start]) != NULL) {
        start++;
    }
    if (start == end) {
        *why = "it is empty: put a token into it";
        return NULL;
    }
    for (size_t i = start; i < end; i++) {
        if (text[i] < '!' || text[i] > '~') {
            *why = "it must hold one token and nothing else (no \"Bearer\" before it, one line of "
                   "ASCII)";
            return NULL;
        }
    }
    *ret_size = end - start;
    return text + start;
}

/* Puts a token in the place of the last one, which is wiped. */
static int take_token(struct token_file *file, const char *token, size_t size)
{
    char *copy;

    if (file->token != NULL && file->size == size && memcmp(file->token, token, size) == 0) {
        return 0;
    }
    copy = secret_alloc(size + 1);
    if (copy == NULL) {
        return -ENOMEM;
    }
    memcpy(copy, token, size);
    copy[size] = '\0';
    secret_free(file->token);
    file->token = copy;
    file->size = size;
    return 0;
}

/* Reads the file. Without success the token stays, and file->problem says why. */
static int look(struct token_file *file)
{
    char *problem = file->problem;
    const char *why = NULL;
    const char *token;
    char *text = NULL;
    size_t size = 0;
    size_t token_size = 0;
    int result = file->is_fixed ? slurp_file(file->path, TOKEN_FILE_SIZE_MAX, &text, &size)
                                : slurp_regular_file(file->path, TOKEN_FILE_SIZE_MAX, &text, &size);

    if (result == SLURP_E_NOT_REGULAR) {
        return tell(problem, file->path, -EINVAL, "it is no regular file any more");
    }
    if (result == SLURP_E_TOO_LARGE) {
        return tell(problem, file->path, -EFBIG, "it is larger than 65536 bytes: is it this file?");
    }
    if (result != 0) {
        return tell_error(problem, file->path, result);
    }
    token = find_token(text, size, &token_size, &why);
    if (token == NULL) {
        result = tell(problem, file->path, -EINVAL, why);
    } else {
        result = take_token(file, token, token_size);
        if (result == 0) {
            problem[0] = '\0';
        } else {
            (void)tell_error(problem, file->path, result);
        }
    }
    slurp_free(text, size);
    return result;
}

/* A pipe gives its bytes once, and whoever reads it again waits for ever. */
static bool is_read_once(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && !S_ISREG(status.st_mode);
}

int token_file_new(const char *path, uint64_t now_ns, char *problem, struct token_file **ret_file)
{
    struct token_file *file;
    int result = -ENOMEM;

    if (strcmp(path, "-") == 0) {
        return tell(problem, path, -EINVAL,
                    "standard input is not read here: read it, and give the token itself");
    }
    file = calloc(1, sizeof(*file));
    if (file != NULL) {
        file->path = strdup(path);
    }
    if (file == NULL || file->path == NULL) {
        (void)tell_error(problem, path, result);
        token_file_free(file);
        return result;
    }
    file->is_fixed = is_read_once(path);
    file->looked_ns = now_ns;
    result = look(file);
    if (result != 0) {
        memcpy(problem, file->problem, sizeof(file->problem));
        token_file_free(file);
        return result;
    }
    *ret_file = file;
    return 0;
}

const char *token_file_token(struct token_file *file, uint64_t now_ns)
{
    if (!file->is_fixed && now_ns > file->looked_ns &&
        now_ns - file->looked_ns >= LOOK_INTERVAL_NS) {
        file->looked_ns = now_ns;
        (void)look(file); /* the problem is kept */
    }
    return file->token;
}

const char *token_file_problem(const struct token_file *file)
{
    return file->problem;
}

void token_file_free(struct token_file *file)
{
    if (file == NULL) {
        return;
    }
    secret_free(file->token);
    free(file->path);
    free(file);
}
