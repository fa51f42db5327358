#include "service/user_change.h"

#include "service/user_entry.h"
#include "service/user_fold.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Copies behind `*at` and moves on. */
static struct bytes put(uint8_t **at, struct bytes text)
{
    struct bytes copy = {*at, text.size};

    if (text.size > 0) {
        memcpy(*at, text.data, text.size);
    }
    *at += text.size;
    return copy;
}

/* Folds into `bytes`; of nothing nothing is made. Returns 0 or -EBADMSG. */
static int fold(struct bytes text, uint8_t bytes[USER_FOLDED_BYTES_MAX], struct bytes *ret_folded)
{
    size_t size = 0;

    if (text.size > 0 && user_fold(text, bytes, &size) != 0) {
        return -EBADMSG;
    }
    *ret_folded = (struct bytes){bytes, size};
    return 0;
}

int user_change_copy_keys(struct user_change *change, const struct user_names *names,
                          const struct user_entry *before)
{
    struct bytes none = {0};
    struct bytes old_username = before == NULL ? none : user_entry_username(before);
    struct bytes old_email = before == NULL ? none : user_entry_email(before);
    uint8_t folded[2][USER_FOLDED_BYTES_MAX];
    struct bytes username;
    struct bytes email;
    uint8_t *at;

    if (fold(names->username, folded[0], &username) != 0 ||
        fold(names->email, folded[1], &email) != 0) {
        return -EBADMSG;
    }
    at = malloc(names->id.size + username.size + email.size + names->request_id.size +
                old_username.size + old_email.size);
    if (at == NULL) {
        return -ENOMEM;
    }
    change->memory = at;
    change->id.key = put(&at, names->id);
    change->username.key = put(&at, username);
    change->email.key = put(&at, email);
    change->request_id.key = put(&at, names->request_id);
    if (!bytes_equal(old_username, username)) {
        change->old_username = put(&at, old_username);
    }
    if (!bytes_equal(old_email, email)) {
        change->old_email = put(&at, old_email);
    }
    return 0;
}

static void add_key(struct commit_mutation *mutation, struct bytes key, enum commit_key_rule rule,
                    uint64_t version)
{
    if (key.size > 0) {
        assert(mutation->key_count < COMMIT_KEYS_MAX);
        mutation->keys[mutation->key_count++] = (struct commit_key){key, rule, version};
    }
}

/* Adds the names that are not among the others, each once. */
static void add_names(struct commit_mutation *mutation, const struct bytes names[2],
                      const struct bytes others[2], enum commit_key_rule rule)
{
    for (size_t i = 0; i < 2; i++) {
        bool is_repeated = i == 1 && bytes_equal(names[1], names[0]);

        if (!is_repeated && !bytes_equal(names[i], others[0]) &&
            !bytes_equal(names[i], others[1])) {
            add_key(mutation, names[i], rule, 0);
        }
    }
}

void user_change_fill_keys(const struct user_change *change, struct commit_mutation *mutation)
{
    const struct bytes after[2] = {change->username.key, change->email.key};
    struct bytes before[2] = {{0}};

    if (!change->is_new) {
        before[0] = change->old_username.size > 0 ? change->old_username : after[0];
        before[1] = change->old_email.size > 0 ? change->old_email : after[1];
    }
    mutation->key_count = 0;
    add_key(mutation, change->id.key, change->is_new ? COMMIT_KEY_ABSENT : COMMIT_KEY_AT_VERSION,
            change->old_revision);
    add_names(mutation, after, before, COMMIT_KEY_ABSENT);
    add_names(mutation, before, after, COMMIT_KEY_DROPPED);
}
