/*
 * One stored user: its keys and its packed users.v1.User in one block of memory. It never changes
 * once it is stored: a change puts another in its place. Keep no pointer to one across a return to
 * the loop.
 *
 * Owns:    copies of everything it holds.
 * Borrows: nothing.
 * Thread:  one at a time.
 */
#ifndef SERVICE_USER_ENTRY_H
#define SERVICE_USER_ENTRY_H

#include "core/bytes.h"
#include "service/user_fold.h"
#include "service/user_record.h"

#include <stdbool.h>
#include <stdint.h>

struct user_entry;

/* The names of a user, folded, with their memory. */
struct user_folded {
    struct bytes username;
    struct bytes email;
    uint8_t username_bytes[USER_FOLDED_BYTES_MAX];
    uint8_t email_bytes[USER_FOLDED_BYTES_MAX];
};

/* Returns 0; -EBADMSG when a name does not fold, so nothing that passed user_validate.h. */
int user_entry_fold(const struct user *user, struct user_folded *ret_folded);

/* Copies the record and folds its names. free() ends the entry. Returns as above, or -ENOMEM. */
int user_entry_new(const struct user_record *record, struct user_entry **ret_entry);

/* The same with names that were folded already. Returns 0 or -ENOMEM. */
int user_entry_new_folded(const struct user_record *record, const struct user_folded *folded,
                          struct user_entry **ret_entry);

/* Asks the memory for all of it that is read with most users. */
void user_entry_prefetch(const struct user_entry *entry);

/* Of the block of memory. */
size_t user_entry_size(const struct user_entry *entry);

struct bytes user_entry_id(const struct user_entry *entry);
struct bytes user_entry_message(const struct user_entry *entry);
struct bytes user_entry_username(const struct user_entry *entry); /* folded */
struct bytes user_entry_email(const struct user_entry *entry);    /* folded */
struct bytes user_entry_request_id(const struct user_entry *entry);
struct bytes user_entry_password_hash(const struct user_entry *entry);

uint64_t user_entry_sequence(const struct user_entry *entry);
uint64_t user_entry_change(const struct user_entry *entry);

/* True when the etag is that of this user as it is. */
bool user_entry_has_etag(const struct user_entry *entry, struct bytes etag);

/* The revision of the log that brought it: set once, before it is stored. */
void user_entry_set_revision(struct user_entry *entry, uint64_t revision);
uint64_t user_entry_revision(const struct user_entry *entry);

#endif
