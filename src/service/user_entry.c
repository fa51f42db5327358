#include "service/user_entry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* These first bytes hold most users wholly. */
#define FETCH_BYTES 384
#define CACHE_LINE  64

/* The message comes first, and the id is found in it, as names are that folding leaves as they are:
 * a GetUser that compared the id has the message in the cache, and nothing is stored twice. */
struct user_entry {
    uint64_t revision;
    uint64_t sequence;
    uint64_t change;
    uint32_t message_size;
    uint32_t id_at; /* in `bytes`, like the others */
    uint32_t id_size;
    uint32_t username_at;
    uint32_t username_size;
    uint32_t email_at;
    uint32_t email_size;
    uint32_t request_id_at;
    uint32_t request_id_size;
    uint32_t password_hash_size;
    uint8_t bytes[]; /* message, keys that are not in it, request_id, password_hash */
};

int user_entry_fold(const struct user *user, struct user_folded *ret_folded)
{
    ret_folded->username.data = ret_folded->username_bytes;
    ret_folded->email.data = ret_folded->email_bytes;
    if (user_fold(user->username, ret_folded->username_bytes, &ret_folded->username.size) != 0 ||
        user_fold(user->email, ret_folded->email_bytes, &ret_folded->email.size) != 0) {
        return -EBADMSG;
    }
    return 0;
}

/* Where the key stands in the message, if its text lies there and is the same; else at `end`, which
 * moves behind it. */
static uint32_t place_key(struct bytes key, struct bytes text, struct bytes message, size_t *end)
{
    const size_t offset = (uintptr_t)text.data - (uintptr_t)message.data;
    const size_t at = *end;

    if (offset < message.size && text.size <= message.size - offset && bytes_equal(key, text)) {
        return (uint32_t)offset;
    }
    *end += key.size;
    return (uint32_t)at;
}

/* Says where everything goes. Returns the size of it all. */
static size_t plan(const struct user_record *record, const struct user_folded *folded,
                   struct user_entry *ret_plan)
{
    const struct user *user = &record->user;
    const struct bytes message = record->message;
    size_t end = message.size;

    *ret_plan = (struct user_entry){
        .sequence = record->sequence,
        .change = record->change,
        .message_size = (uint32_t)message.size,
        .id_at = place_key(user->id, user->id, message, &end),
        .id_size = (uint32_t)user->id.size,
        .username_size = (uint32_t)folded->username.size,
        .email_size = (uint32_t)folded->email.size,
        .request_id_size = (uint32_t)record->request_id.size,
        .password_hash_size = (uint32_t)record->password_hash.size,
    };
    ret_plan->username_at = place_key(folded->username, user->username, message, &end);
    ret_plan->email_at = place_key(folded->email, user->email, message, &end);
    ret_plan->request_id_at = (uint32_t)end;
    return sizeof(*ret_plan) + end + record->request_id.size + record->password_hash.size;
}

static void put(struct user_entry *entry, size_t at, struct bytes text)
{
    if (text.size > 0) {
        memcpy(entry->bytes + at, text.data, text.size);
    }
}

int user_entry_new_folded(const struct user_record *record, const struct user_folded *folded,
                          struct user_entry **ret_entry)
{
    struct user_entry planned;
    struct user_entry *entry = malloc(plan(record, folded, &planned));

    if (entry == NULL) {
        return -ENOMEM;
    }
    *entry = planned;
    put(entry, 0, record->message);
    if (planned.id_at >= planned.message_size) {
        put(entry, planned.id_at, record->user.id);
    }
    if (planned.username_at >= planned.message_size) {
        put(entry, planned.username_at, folded->username);
    }
    if (planned.email_at >= planned.message_size) {
        put(entry, planned.email_at, folded->email);
    }
    put(entry, planned.request_id_at, record->request_id);
    put(entry, planned.request_id_at + planned.request_id_size, record->password_hash);
    *ret_entry = entry;
    return 0;
}

int user_entry_new(const struct user_record *record, struct user_entry **ret_entry)
{
    struct user_folded folded;
    int result = user_entry_fold(&record->user, &folded);

    return result != 0 ? result : user_entry_new_folded(record, &folded, ret_entry);
}

struct bytes user_entry_id(const struct user_entry *entry)
{
    return (struct bytes){entry->bytes + entry->id_at, entry->id_size};
}

struct bytes user_entry_message(const struct user_entry *entry)
{
    return (struct bytes){entry->bytes, entry->message_size};
}

struct bytes user_entry_username(const struct user_entry *entry)
{
    return (struct bytes){entry->bytes + entry->username_at, entry->username_size};
}

struct bytes user_entry_email(const struct user_entry *entry)
{
    return (struct bytes){entry->bytes + entry->email_at, entry->email_size};
}

struct bytes user_entry_request_id(const struct user_entry *entry)
{
    return (struct bytes){entry->bytes + entry->request_id_at, entry->request_id_size};
}

struct bytes user_entry_password_hash(const struct user_entry *entry)
{
    struct bytes before = user_entry_request_id(entry);

    return (struct bytes){before.data + before.size, entry->password_hash_size};
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
