#include "service/user_page.h"

#include "http2/proto_wire.h"
#include "service/user_entry.h"

#include <errno.h>

#define FIELD_USERS 1

void user_page_deinit(struct user_page *page)
{
    buf_deinit(&page->users);
}

/* Of a message as field of another, with the field's head. */
static size_t size_on_page(struct bytes message)
{
    uint8_t varint[PROTO_WIRE_VARINT_MAX];

    return 1 + proto_wire_put_varint(varint, message.size) + message.size;
}

int user_page_offer(struct user_page *page, const struct user_entry *entry)
{
    struct bytes message = user_entry_message(entry);
    size_t used = buf_size(&page->users);

    if (page->has_more || page->count == page->count_max ||
        (page->count > 0 && used + size_on_page(message) > page->bytes_max)) {
        page->has_more = true;
        return 0;
    }
    if (proto_wire_append_bytes(&page->users, FIELD_USERS, message) != 0) {
        return -ENOMEM;
    }
    page->count++;
    page->last = user_entry_sequence(entry);
    return 0;
}
