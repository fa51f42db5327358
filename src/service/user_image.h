/*
 * What a write will store: the present user with what was asked for. Pure.
 *
 * Owns:    nothing.
 * Borrows: every text of an image points into the write, its request, or the present entry.
 * Thread:  any.
 */
#ifndef SERVICE_USER_IMAGE_H
#define SERVICE_USER_IMAGE_H

#include "core/buf.h"
#include "service/user_entry.h"
#include "service/user_record.h"

struct user_write;

struct user_image {
    struct user user;          /* of a delete: the id alone */
    struct user_record record; /* without `message`; of a new user without sequence */
};

/* `present` is NULL for a new user. Times and etag are the present ones. */
void user_image_make(const struct user_write *write, const struct user_entry *present,
                     struct user_image *ret_image);

/* Would storing the image change anything? 1, 0 or -ENOMEM. */
int user_image_differs(const struct user_image *image, const struct user_entry *present);

/* Puts the record, in bytes, into `out` in the place of what is there. Returns 0 or -ENOMEM. */
int user_image_pack(struct user_image *image, struct buf *out);

#endif
