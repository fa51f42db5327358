#include "service/user_image.h"

#include "service/user_patch.h"
#include "service/user_write.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define PACKED_USUAL 512

static void read_present(const struct user_entry *present, struct user_image *image)
{
    int result = user_record_read_user(user_entry_message(present), &image->user);

    assert(result == 0); /* it was read when it was stored */
    image->record.password_hash = user_entry_password_hash(present);
    image->record.request_id = user_entry_request_id(present);
    image->record.sequence = user_entry_sequence(present);
}

static void set_draft(const struct user_write *write, struct user_image *image)
{
    image->user.username = write->draft.username;
    image->user.email = write->draft.email;
    image->user.status = USER_STATUS_ACTIVE;
    image->record.password_hash = bytes_from_text(write->password.hash);
    image->record.request_id = write->draft.request_id;
}

/* What the client sent, but for what only the server sets. */
static void replace(const struct user *sent, struct user *user)
{
    user->username = sent->username;
    user->email = sent->email;
    user->first_name = sent->first_name;
    user->last_name = sent->last_name;
    user->avatar_url = sent->avatar_url;
    user->role_count = sent->role_count;
    memcpy(user->roles, sent->roles, user_used_size(sent) - offsetof(struct user, roles));
    if (sent->status != USER_STATUS_UNSPECIFIED) {
        user->status = sent->status;
    } else if (user->status == USER_STATUS_UNSPECIFIED) {
        user->status = USER_STATUS_ACTIVE;
    }
}

void user_image_make(const struct user_write *write, const struct user_entry *present,
                     struct user_image *ret_image)
{
    /* Roles count as far as there are some, and of the record the user is not used. */
    memset(&ret_image->user, 0, offsetof(struct user, roles));
    memset(&ret_image->record, 0, offsetof(struct user_record, user));
    ret_image->user.id = user_write_id(write);
    if (present != NULL && write->kind != USER_WRITE_DELETE) {
        read_present(present, ret_image);
    }
    switch (write->kind) {
    case USER_WRITE_CREATE:
        set_draft(write, ret_image);
        break;
    case USER_WRITE_UPDATE:
        user_patch_apply(write->patch, &ret_image->user);
        break;
    case USER_WRITE_SYNC:
        replace(write->user, &ret_image->user);
        break;
    case USER_WRITE_DELETE:
        break;
    }
}

/* Packs the user at once into as much memory as most users need. Returns 0 or -ENOMEM. */
static int pack_user(const struct user *user, struct buf *out)
{
    return buf_reserve(out, PACKED_USUAL) == NULL ? -ENOMEM : user_record_append_user(user, out);
}

int user_image_differs(const struct user_image *image, const struct user_entry *present)
{
    struct buf message = {0};
    int result = pack_user(&image->user, &message);

    if (result == 0) {
        result = !bytes_equal(buf_bytes(&message), user_entry_message(present));
    }
    buf_deinit(&message);
    return result;
}

int user_image_pack(struct user_image *image, struct buf *out)
{
    struct buf message = {0};
    int result = pack_user(&image->user, &message);

    if (result == 0) {
        image->record.message = buf_bytes(&message);
        buf_clear(out);
        result = user_record_append(&image->record, out);
        image->record.message = (struct bytes){0};
    }
    buf_deinit(&message);
    return result;
}
