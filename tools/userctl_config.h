/*
 * The configuration file of userctl: servers by name.
 *
 *     [default]
 *     target = production
 *
 *     [target production]
 *     target = dns:///users.example:50051
 *     ca = users-ca.pem
 *     token_file = ~/.config/users-token
 *
 * Owns:    its texts.
 * Borrows: nothing after a call.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_CONFIG_H
#define TOOLS_USERCTL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define USERCTL_CONFIG_TARGETS_MAX  256
#define USERCTL_CONFIG_PROBLEM_SIZE 1024

#define USERCTL_CONFIG_E_BAD 1 /* the problem says why: file, line, key */

/* Texts are NULL when they were not given. Files are as they can be opened. */
struct userctl_config_target {
    char *name;
    char *target;
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *server_name;
    char *token_file;
    char *balancing;
    bool plaintext;
    uint64_t deadline_ns; /* 0 = not given */
    int line;
};

struct userctl_config {
    char *path;
    char *default_target; /* a name; NULL = none */
    struct userctl_config_target *targets;
    size_t count;
};

/* "$XDG_CONFIG_HOME/userctl.ini", "~/.config/userctl.ini"; NULL when there is no home. To be freed.
 */
char *userctl_config_default_path(void);

/* Reads a file. Returns 0; or USERCTL_CONFIG_E_BAD with `problem` (USERCTL_CONFIG_PROBLEM_SIZE
 * bytes) filled in. A file that is not there, or in a folder that is closed to us, is an empty one
 * unless it `must_exist`; `problem` then has a warning, and is "" otherwise.
 * userctl_config_deinit() is needed in any case. */
int userctl_config_read(const char *path, bool must_exist, char *problem,
                        struct userctl_config *ret_config);

/* The same of a text; `path` is what it would be named. */
int userctl_config_parse(const char *text, const char *path, char *problem,
                         struct userctl_config *ret_config);
void userctl_config_deinit(struct userctl_config *config);

/* The target of that name. Returns 0; or USERCTL_CONFIG_E_BAD with `problem`, when there is none,
 * or when others may read its secrets. */
int userctl_config_find(const struct userctl_config *config, const char *name, char *problem,
                        const struct userctl_config_target **ret_target);

#endif
