#include "userwal_line.h"

#include "service/password.h"
#include "service/user_validate.h"

#include <stdio.h>

static bool take_digits(const char **at)
{
    size_t count = strspn(*at, "0123456789");

    *at += count;
    return count >= 1 && count <= 10;
}

static bool take_prefix(const char **at, const char *prefix)
{
    size_t size = strlen(prefix);

    if (strncmp(*at, prefix, size) != 0) {
        return false;
    }
    *at += size;
    return true;
}

/* Base64 without padding. */
static bool take_base64(const char **at, size_t least)
{
    size_t count = strspn(*at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");

    *at += count;
    return count >= least && count % 4 != 1;
}

/* $argon2id$v=19$m=65536,t=2,p=1$<salt>$<hash>, as libsodium makes and checks them; argon2i too. */
static bool is_password_hash(struct bytes hash)
{
    const char *at = (const char *)hash.data; /* a NUL stands behind it */

    return hash.size < PASSWORD_HASH_SIZE &&
           (take_prefix(&at, "$argon2id$v=19$m=") || take_prefix(&at, "$argon2i$v=19$m=")) &&
           take_digits(&at) && take_prefix(&at, ",t=") && take_digits(&at) &&
           take_prefix(&at, ",p=") && take_digits(&at) && take_prefix(&at, "$") &&
           take_base64(&at, 11) && take_prefix(&at, "$") && take_base64(&at, 22) && *at == '\0';
}

static void say_faults(const struct user_faults *faults, char *problem)
{
    size_t at = 0;

    for (unsigned i = 0; i < faults->count && at < USERWAL_LINE_PROBLEM_SIZE; i++) {
        int size = snprintf(problem + at, USERWAL_LINE_PROBLEM_SIZE - at, "%s%s: %s",
                            i == 0 ? "" : "; ", faults->items[i].field, faults->items[i].problem);

        at += size > 0 ? (size_t)size : 0;
    }
}

/* The rule for a request_id is that of a draft, whose other fields are fine or found out already.
 */
static void check_request_id(const struct userwal_line *line, struct user_faults *faults)
{
    static const struct user_password_rule rule = {.min_characters = 1, .max_bytes = 64};
    const struct user_draft draft = {
        .username = line->user.username,
        .email = line->user.email,
        .password = BYTES_LITERAL("-"),
        .request_id = line->request_id,
    };
    struct user_faults all = {0};

    user_validate_draft(&draft, &rule, &all);
    for (unsigned i = 0; i < all.count; i++) {
        if (strcmp(all.items[i].field, "request_id") == 0 && faults->count < USER_FAULTS_MAX) {
            faults->items[faults->count++] = all.items[i];
        }
    }
}

static int check(struct userwal_line *line, char *problem)
{
    struct user_faults faults = {0};

    line->user.username = user_validate_trim(line->user.username);
    line->user.email = user_validate_trim(line->user.email);
    user_validate_sync(&line->user, &faults);
    check_request_id(line, &faults);
    if (faults.count > 0) {
        say_faults(&faults, problem);
    } else if (line->password_hash.size > 0 && !is_password_hash(line->password_hash)) {
        (void)snprintf(problem, USERWAL_LINE_PROBLEM_SIZE,
                       "password_hash: must be a PHC string of Argon2id");
    } else if (line->user.created_at < 0 || line->user.updated_at < 0) {
        (void)snprintf(problem, USERWAL_LINE_PROBLEM_SIZE,
                       "created_at, updated_at: must not be negative");
    } else {
        return 0;
    }
    return 1;
}

static void take(struct userwal_line *line)
{
    const struct common_read *read = &line->read;

    line->user = (struct user){
        .id = read->id,
        .username = read->username,
        .email = read->email,
        .created_at = read->created_at,
        .role_count = read->role_count,
        .status = read->status,
        .first_name = read->first_name,
        .last_name = read->last_name,
        .avatar_url = read->avatar_url,
        .updated_at = read->updated_at,
        .etag = read->etag,
    };
    for (size_t i = 0; i < read->role_count && i < USER_ROLES_MAX; i++) {
        line->user.roles[i] = read->roles[i];
    }
    line->password_hash = read->password_hash;
    line->request_id = read->request_id;
}

int userwal_line_read(struct bytes line, char problem[USERWAL_LINE_PROBLEM_SIZE],
                      struct userwal_line *ret_line)
{
    const unsigned fields = COMMON_READ_USER | COMMON_READ_STORED;

    if (common_read_line(line, fields, problem, &ret_line->read) != 0) {
        return 1;
    }
    take(ret_line);
    return check(ret_line, problem);
}

void userwal_line_deinit(struct userwal_line *line)
{
    common_read_deinit(&line->read);
}
