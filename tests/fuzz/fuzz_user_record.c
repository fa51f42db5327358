/*
 * Any bytes as a record: read or refused, and what was read is written and read back the same.
 *
 * Thread: one.
 */
#include "service/user_record.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(uint8_t type, const struct user_record *record)
{
    struct user_record again;
    struct buf message = {0};
    struct buf body = {0};
    struct user_record copy = *record;

    assert(user_record_append_user(&record->user, &message) == 0);
    copy.message = buf_bytes(&message);
    assert(user_record_append(&copy, &body) == 0);
    assert(user_record_read(type, buf_bytes(&body), &again) == 0);
    assert(again.change == record->change);
    assert(again.sequence == record->sequence);
    assert(bytes_equal(again.user.id, record->user.id));
    assert(bytes_equal(again.user.email, record->user.email));
    assert(again.user.role_count == record->user.role_count ||
           record->user.role_count > USER_ROLES_MAX);
    assert(bytes_equal(again.password_hash, record->password_hash));
    assert(bytes_equal(again.request_id, record->request_id));
    buf_deinit(&message);
    buf_deinit(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct user_record record;

    for (uint8_t type = 0; type < 4; type++) {
        if (user_record_read(type, (struct bytes){data, size}, &record) == 0) {
            check_round_trip(type, &record);
        }
    }
    return 0;
}
