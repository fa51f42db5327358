#include "service/user_entry.h"

#include "service/user_fold.h"

#include <errno.h>
#include <stdlib.h>

/* These first bytes hold most users wholly. */
#define FETCH_BYTES 384
#define CACHE_LINE  64

/* The message stands right behind the id: a GetUser that compared the one has the other in the
 * cache. */
struct user_entry {
    uint64_t revision;
    uint64_t sequence;
    uint64_t change;
    uint32_t id_size;
    uint32_t message_size;
    uint32_t username_size;
    uint32_t email_size;
    uint32_t request_id_size;
    uint32_t password_hash_size;
    uint8_t bytes[]; /* id, message, username, email, request_id, password_hash */
};

static uint8_t *put(uint8_t *at, struct bytes text)
{
    if (text.size > 0) {
        memcpy(at, text.data, text.size);
    }
    return at + text.size;
}

/* Folding may make a name longer, so its size is known only afterwards. */
struct folded_names {
    struct bytes username;
    struct bytes email;
    uint8_t username_bytes[USER_FOLDED_BYTES_MAX];
    uint8_t email_bytes[USER_FOLDED_BYTES_MAX];
};

static int fold_names(const struct user *user, struct folded_names *names)
{
    names->username.data = names->username_bytes;
    names->email.data = names->email_bytes;
    if (user_fold(user->username, names->username_bytes, &names->username.size) != 0 ||
        user_fold(user->email, names->email_bytes, &names->email.size) != 0) {
        return -EBADMSG;
    }
    return 0;
}

int user_entry_new(const struct user_record *record, struct user_entry **ret_entry)
{
    const struct user *user = &record->user;
    struct folded_names names;
    struct user_entry *entry;
    uint8_t *at;
    int result = fold_names(user, &names);

    if (result != 0) {
        return result;
    }
    entry = malloc(sizeof(*entry) + user->id.size + record->message.size + names.username.size +
                   names.email.size + record->request_id.size + record->password_hash.size);
    if (entry == NULL) {
        return -ENOMEM;
    }
    *entry = (struct user_entry){
        .sequence = record->sequence,
        .change = record->change,
        .id_size = (uint32_t)user->id.size,
        .message_size = (uint32_t)record->message.size,
        .username_size = (uint32_t)names.username.size,
        .email_size = (uint32_t)names.email.size,
        .request_id_size = (uint32_t)record->request_id.size,
        .password_hash_size = (uint32_t)record->password_hash.size,
    };
    at = put(entry->bytes, user->id);
    at = put(at, record->message);
    at = put(at, names.username);
    at = put(at, names.email);
    at = put(at, record->request_id);
    (void)put(at, record->password_hash); /* the last one */
    *ret_entry = entry;
    return 0;
}

struct bytes user_entry_id(const struct user_entry *entry)
{
    return (struct bytes){entry->bytes, entry->id_size};
}

/* The next `size` bytes behind a part. */
static struct bytes behind(struct bytes part, size_t size)
{
    return (struct bytes){part.data + part.size, size};
}

struct bytes user_entry_message(const struct user_entry *entry)
{
    return behind(user_entry_id(entry), entry->message_size);
}

struct bytes user_entry_username(const struct user_entry *entry)
{
    return behind(user_entry_message(entry), entry->username_size);
}

struct bytes user_entry_email(const struct user_entry *entry)
{
    return behind(user_entry_username(entry), entry->email_size);
}

struct bytes user_entry_request_id(const struct user_entry *entry)
{
    return behind(user_entry_email(entry), entry->request_id_size);
}

struct bytes user_entry_password_hash(const struct user_entry *entry)
{
    return behind(user_entry_request_id(entry), entry->password_hash_size);
}

void user_entry_prefetch(const struct user_entry *entry)
{
    for (size_t i = 0; i < FETCH_BYTES; i += CACHE_LINE) {
        __builtin_prefetch((const char *)entry + i);
    }
}

size_t user_entry_size(const struct user_entry *entry)
{
    struct bytes last = user_entry_password_hash(entry);

    return (size_t)(last.data + last.size - (const uint8_t *)entry);
}

uint64_t user_entry_sequence(const struct user_entry *entry)
{
    return entry->sequence;
}

uint64_t user_entry_change(const struct user_entry *entry)
{
    return entry->change;
}

bool user_entry_has_etag(const struct user_entry *entry, struct bytes etag)
{
    char text[USER_ETAG_SIZE];
    size_t size = user_record_format_etag(entry->change, text);

    return bytes_equal(etag, (struct bytes){(const uint8_t *)text, size});
}

void user_entry_set_revision(struct user_entry *entry, uint64_t revision)
{
    entry->revision = revision;
}

uint64_t user_entry_revision(const struct user_entry *entry)
{
    return entry->revision;
}
