#include "lib/user_model.h"

#include "service/user_entry.h"
#include "service/user_order.h"
#include "service/user_store.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_SIZE   32
#define TEXTS       8
#define AVATAR_SIZE (64 * 1024)

/* A short text in a buffer that is used again some calls later. */
static struct bytes text_of(const char *prefix, uint32_t number)
{
    static char texts[TEXTS][TEXT_SIZE];
    static unsigned next;
    char *text = texts[next++ % TEXTS];

    (void)snprintf(text, TEXT_SIZE, "%s%u", prefix, number); /* fits */
    return bytes_from_text(text);
}

struct bytes user_model_id(unsigned id)
{
    return text_of("id", id);
}

struct bytes user_model_name(uint32_t name)
{
    return text_of("Name", name);
}

static struct bytes folded_name(uint32_t name)
{
    return text_of("name", name);
}

static struct bytes request_text(uint32_t request)
{
    return request == 0 ? (struct bytes){NULL, 0} : text_of("request", request);
}

/* Letters that follow from the salt, at another place for each size. */
static struct bytes avatar(uint32_t salt, uint32_t size)
{
    static uint8_t letters[2 * AVATAR_SIZE];

    if (letters[0] == 0) {
        uint32_t random = 1;

        for (size_t i = 0; i < sizeof(letters); i++) {
            random = random * 1664525 + 1013904223;
            letters[i] = (uint8_t)('a' + (random >> 24) % 26);
        }
    }
    assert(size <= AVATAR_SIZE);
    return (struct bytes){letters + salt % AVATAR_SIZE, size};
}

/* Texts and numbers of a user but for the etag. */
static void fill(struct user *ret_user, unsigned id, const struct user_model_user *user)
{
    static const char *const roles[] = {"admin", "reader", "writer", "auditor"};

    ret_user->id = user_model_id(id);
    ret_user->username = user_model_name(user->username);
    ret_user->email = user_model_name(user->email);
    ret_user->created_at = user->created_at;
    ret_user->updated_at = user->updated_at;
    ret_user->status = user->status;
    ret_user->first_name = text_of("First", user->salt);
    ret_user->last_name = text_of("Last", user->salt / 3);
    ret_user->avatar_url = avatar(user->salt, user->size);
    ret_user->role_count = user->roles;
    for (uint32_t i = 0; i < user->roles; i++) {
        ret_user->roles[i] = bytes_from_text(roles[(user->salt + i) % 4]);
    }
}

void user_model_add(struct user_model *model, const struct user_model_change *change)
{
    if (model->count == model->capacity) {
        model->capacity = model->capacity == 0 ? 256 : model->capacity * 2;
        model->changes = realloc(model->changes, model->capacity * sizeof(model->changes[0]));
        if (model->changes == NULL) {
            abort();
        }
    }
    model->changes[model->count] = *change;
    model->count++;
}

void user_model_forget_after(struct user_model *model, uint64_t lsn)
{
    assert(lsn <= model->count);
    model->count = lsn;
}

void user_model_deinit(struct user_model *model)
{
    free(model->changes);
    *model = (struct user_model){0};
}

void user_model_state_at(const struct user_model *model, uint64_t lsn,
                         struct user_model_state *ret_state)
{
    assert(lsn <= model->count);
    *ret_state = (struct user_model_state){.count = 0};
    for (uint64_t i = 0; i < lsn; i++) {
        const struct user_model_change *change = &model->changes[i];

        ret_state->counters = change->counters;
        if (change->type != USER_RECORD_COUNTERS) {
            ret_state->users[change->id] = change->after;
            ret_state->users[change->id].lsn = i + 1;
        }
    }
    for (unsigned i = 0; i < USER_MODEL_IDS; i++) {
        ret_state->count += ret_state->users[i].exists;
    }
}

static void must(int result)
{
    if (result != 0) {
        abort();
    }
}

void user_model_build(unsigned id, const struct user_model_user *user, uint8_t type,
                      struct buf *out)
{
    char etag[USER_ETAG_SIZE];
    struct user wire = {.id = user_model_id(id)};
    struct user_record record = {.sequence = 0};
    struct buf message = {0};

    if (type == USER_RECORD_PUT) {
        fill(&wire, id, user);
        record.sequence = user->sequence;
        record.request_id = request_text(user->request);
        record.password_hash = text_of("hash", user->salt / 7);
    }
    wire.etag = (struct bytes){(const uint8_t *)etag, user_record_format_etag(user->change, etag)};
    must(user_record_append_user(&wire, &message));
    record.message = buf_bytes(&message);
    must(user_record_append(&record, out));
    buf_deinit(&message);
}

static bool is_same_user(const struct user *left, const struct user *right)
{
    if (left->role_count != right->role_count) {
        return false;
    }
    for (size_t i = 0; i < left->role_count; i++) {
        if (!bytes_equal(left->roles[i], right->roles[i])) {
            return false;
        }
    }
    return bytes_equal(left->id, right->id) && bytes_equal(left->username, right->username) &&
           bytes_equal(left->email, right->email) && left->created_at == right->created_at &&
           left->updated_at == right->updated_at && left->status == right->status &&
           bytes_equal(left->first_name, right->first_name) &&
           bytes_equal(left->last_name, right->last_name) &&
           bytes_equal(left->avatar_url, right->avatar_url);
}

/* Is the message that of this user? */
static bool is_message_of(unsigned id, const struct user_model_user *user, struct bytes message)
{
    struct user held;
    struct user wanted;
    char etag[USER_ETAG_SIZE];
    const struct bytes wanted_etag = {(const uint8_t *)etag,
                                      user_record_format_etag(user->change, etag)};

    if (user_record_read_user(message, &held) != 0) {
        return false;
    }
    fill(&wanted, id, user);
    return is_same_user(&held, &wanted) && bytes_equal(held.etag, wanted_etag);
}

static const char *compare_user(unsigned id, const struct user_model_user *user,
                                const struct user_store *store)
{
    const struct user_entry *entry = user_store_find(store, user_model_id(id));

    if ((entry != NULL) != user->exists) {
        return user->exists ? "a user is missing" : "a user is there that must not be";
    }
    if (entry == NULL) {
        return NULL;
    }
    if (!is_message_of(id, user, user_entry_message(entry))) {
        return "a user has other fields";
    }
    if (!bytes_equal(user_entry_password_hash(entry), text_of("hash", user->salt / 7)) ||
        !bytes_equal(user_entry_request_id(entry), request_text(user->request))) {
        return "a user has another password or request_id";
    }
    if (user_entry_sequence(entry) != user->sequence || user_entry_change(entry) != user->change ||
        user_entry_revision(entry) != user->lsn) {
        return "a user has another sequence, change or revision";
    }
    if (user_store_find_username(store, folded_name(user->username)) != entry ||
        user_store_find_email(store, folded_name(user->email)) != entry ||
        (user->request != 0 &&
         user_store_find_request(store, request_text(user->request)) != entry)) {
        return "a user is not found by its names";
    }
    return NULL;
}

bool user_model_is_held(const struct user_model_state *state, const struct user_store *store,
                        const char **ret_what)
{
    const char *what = NULL;

    if (user_store_count(store) != state->count) {
        what = "there are more or fewer users";
    }
    for (unsigned i = 0; i < USER_MODEL_IDS && what == NULL; i++) {
        what = compare_user(i, &state->users[i], store);
    }
    if (what == NULL && user_store_applied(store) != state->counters.change) {
        what = "the last change has another number";
    }
    if (what != NULL) {
        *ret_what = what;
    }
    return what == NULL;
}

bool user_model_has_record(const struct user_model_state *state, struct bytes body, uint64_t lsn,
                           unsigned *ret_id)
{
    for (unsigned i = 0; i < USER_MODEL_IDS; i++) {
        const struct user_model_user *user = &state->users[i];
        struct buf wanted = {0};
        bool is_it = false;

        if (user->exists && user->lsn == lsn) {
            user_model_build(i, user, USER_RECORD_PUT, &wanted);
            is_it = bytes_equal(buf_bytes(&wanted), body);
            buf_deinit(&wanted);
        }
        if (is_it) {
            *ret_id = i;
            return true;
        }
    }
    return false;
}
