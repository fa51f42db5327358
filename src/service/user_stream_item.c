#include "service/user_stream_item.h"

#include "http2/proto_wire.h"
#include "service/user_request.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Numbers of CreateUserResponse. */
#define FIELD_USER  1
#define FIELD_ERROR 2

/* What an item keeps of its request; the texts lie right behind it. A batch needs none of these. */
union user_stream_request {
    struct user user;          /* of SyncUsers: as far as user_used_size() says */
    struct user_faults faults; /* of a request that is no good */
};

static struct user_stream_item *new_item(size_t request_size, size_t text_size, uint8_t **ret_texts)
{
    struct user_stream_item *item = calloc(1, sizeof(*item) + request_size + text_size);

    if (item == NULL) {
        return NULL;
    }
    list_init(&item->link);
    item->request = (union user_stream_request *)(void *)(item + 1);
    *ret_texts = (uint8_t *)(item + 1) + request_size;
    return item;
}

/* Copies the text to `*at` and moves on. */
static void keep(struct bytes *text, uint8_t **at)
{
    if (text->size > 0) {
        memcpy(*at, text->data, text->size);
    }
    text->data = *at;
    *at += text->size;
}

static struct user_stream_item *new_refused(int result, const struct user_faults *faults)
{
    bool has_faults = result == USER_REQUEST_E_FAULTS;
    struct user_stream_item *item;
    uint8_t *texts;

    item = new_item(has_faults ? sizeof(item->request->faults) : 0, 0, &texts);
    if (item != NULL) {
        item->state = USER_STREAM_ITEM_FAILED;
        item->refusal = result;
        if (has_faults) {
            struct user_faults *kept = &item->request->faults;

            *kept = *faults;
            for (unsigned i = 0; i < kept->count; i++) {
                if (kept->items[i].problem == faults->text) {
                    kept->items[i].problem = kept->text;
                }
            }
        }
    }
    return item;
}

static struct user_stream_item *new_create(struct user_streams *streams, user_stream_done_fn done,
                                           struct bytes message)
{
    const struct user_stream_options *options = &streams->options;
    struct user_draft draft;
    struct user_faults faults;
    struct user_stream_item *item;
    uint8_t *texts;
    int result = user_request_read_create(message, options->max_fields, &options->password_rule,
                                          &draft, &faults);

    if (result != 0) {
        return new_refused(result, &faults);
    }
    item = new_item(0, draft.username.size + draft.email.size + draft.request_id.size, &texts);
    if (item == NULL) {
        return NULL;
    }
    keep(&draft.username, &texts);
    keep(&draft.email, &texts);
    keep(&draft.request_id, &texts);
    item->write = user_write_new(streams->writer, USER_WRITE_CREATE, done, item);
    if (item->write == NULL || user_write_set_draft(item->write, &draft) != 0) {
        user_stream_item_free(item);
        return NULL;
    }
    return item;
}

/* Every text of a user, or NULL behind the last one. */
static struct bytes *text_of(struct user *user, size_t i)
{
    struct bytes *texts[] = {&user->id,        &user->username,   &user->email, &user->first_name,
                             &user->last_name, &user->avatar_url, &user->etag};
    const size_t count = sizeof(texts) / sizeof(texts[0]);

    if (i < count) {
        return texts[i];
    }
    return i - count < user->role_count ? &user->roles[i - count] : NULL;
}

static struct user_stream_item *new_sync(struct user_streams *streams, user_stream_done_fn done,
                                         struct bytes message)
{
    struct user user;
    struct user_faults faults;
    struct user_stream_item *item;
    struct bytes *text;
    uint8_t *texts;
    size_t size = 0;
    int result = user_request_read_sync(message, streams->options.max_fields, &user, &faults);

    if (result != 0) {
        return new_refused(result, &faults);
    }
    for (size_t i = 0; (text = text_of(&user, i)) != NULL; i++) {
        size += text->size;
    }
    item = new_item(user_used_size(&user), size, &texts);
    if (item == NULL) {
        return NULL;
    }
    for (size_t i = 0; (text = text_of(&user, i)) != NULL; i++) {
        keep(text, &texts);
    }
    memcpy(&item->request->user, &user, user_used_size(&user));
    item->write = user_write_new(streams->writer, USER_WRITE_SYNC, done, item);
    if (item->write == NULL) {
        user_stream_item_free(item);
        return NULL;
    }
    item->write->id = user.id;
    item->write->etag = user.etag;
    item->write->user = &item->request->user;
    return item;
}

struct user_stream_item *user_stream_item_new(struct user_streams *streams,
                                              enum user_write_kind kind, user_stream_done_fn done,
                                              struct bytes message)
{
    assert(kind == USER_WRITE_CREATE || kind == USER_WRITE_SYNC);
    return kind == USER_WRITE_CREATE ? new_create(streams, done, message)
                                     : new_sync(streams, done, message);
}

void user_stream_item_free(struct user_stream_item *item)
{
    user_write_free(item->write);
    buf_deinit(&item->reply);
    free(item);
}

int user_stream_item_keep_reply(struct user_stream_item *item)
{
    struct bytes message = user_entry_message(item->write->entry);

    buf_clear(&item->reply);
    if (item->write->kind == USER_WRITE_SYNC) {
        return buf_append(&item->reply, message.data, message.size);
    }
    return proto_wire_append_bytes(&item->reply, FIELD_USER, message);
}

void user_stream_item_error(const struct user_stream_item *item, struct user_error *error)
{
    if (item->refusal != 0) {
        user_error_of_request(error, item->refusal, &item->request->faults);
    } else {
        user_error_of_write(error, item->write, item->outcome);
    }
    user_error_add_index(error, item->index);
}

int user_stream_item_keep_error(struct user_stream_item *item, const struct user_error *error)
{
    struct buf encoded = {0};
    int result = grpc_error_encode(&error->grpc, &encoded);

    if (result == 0) {
        buf_clear(&item->reply);
        result = proto_wire_append_bytes(&item->reply, FIELD_ERROR, buf_bytes(&encoded));
    }
    buf_deinit(&encoded);
    return result;
}
