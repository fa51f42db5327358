/*
 * Structs that grow: what a program gives is as long as the header that it was compiled with, which
 * may be older or newer than this library.
 *
 * So each is copied over one of this library's own, with the defaults for what an older program
 * does not know. Of a newer one all that this library does not know must be 0, its default:
 * anything else is a wish that could not be granted. Hence two rules for whoever adds a field: it
 * goes to the end, and 0 is its default. The last field may leave no padding behind it, for an
 * older program would fill in a new one there with whatever lay in its memory.
 */
#include "client/userd_client_internal.h"

#include <errno.h>

#define STRUCT_SIZE_MAX 4096 /* more is no size but what lay in memory */

#define ENDS_WITH(type, field)                                                                     \
    (offsetof(struct type, field) + sizeof(((struct type *)NULL)->field) == sizeof(struct type))

static_assert(ENDS_WITH(userd_error, index), "");
static_assert(ENDS_WITH(userd_client_options, interrupted_context), "");
static_assert(ENDS_WITH(userd_call_options, metadata_count), "");
static_assert(ENDS_WITH(userd_user, etag), "");
static_assert(ENDS_WITH(userd_new_user, request_id), "");
static_assert(ENDS_WITH(userd_change, mask_count), "");
static_assert(ENDS_WITH(userd_list_request, filter), "");
static_assert(ENDS_WITH(userd_page, plan), "");
static_assert(offsetof(struct userd_reply, error) + sizeof(void *) == sizeof(struct userd_reply),
              "");
static_assert(ENDS_WITH(userd_watch_events, ended), "");
static_assert(ENDS_WITH(userd_stream_events, ended), "");
static_assert(ENDS_WITH(userd_raw_events, ended), "");
static_assert(ENDS_WITH(userd_backend, problem), "");
static_assert(ENDS_WITH(userd_stats, backend_count), "");

/* Whether a struct can be that long; if not, the last problem says so. The size alone says nothing.
 */
static bool check_size(size_t size, const char *name)
{
    if (size > sizeof(size_t) && size <= STRUCT_SIZE_MAX && size % _Alignof(size_t) == 0) {
        return true;
    }
    userd_set_last_problem("struct %s has no size: make it with its _INIT macro, or set `size` to "
                           "its sizeof",
                           name);
    return false;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

int userd_struct_take(void *copy, size_t copy_size, const void *given, const char *name)
{
    size_t size;

    if (given == NULL) {
        userd_set_last_problem("struct %s is missing", name);
        return -EINVAL;
    }
    memcpy(&size, given, sizeof(size));
    if (!check_size(size, name)) {
        return -EINVAL;
    }
    if (size > copy_size && !is_zero((const uint8_t *)given + copy_size, size - copy_size)) {
        userd_set_last_problem("struct %s has a field set that libuserd-client %s does not know: a "
                               "newer one is needed",
                               name, userd_client_version());
        return -EINVAL;
    }
    memcpy(copy, given, size < copy_size ? size : copy_size);
    return 0;
}

int userd_struct_give(void *out, const void *filled, size_t filled_size, const char *name)
{
    size_t size;
    size_t known;

    memcpy(&size, out, sizeof(size));
    if (!check_size(size, name)) {
        return -EINVAL;
    }
    known = size < filled_size ? size : filled_size;
    memcpy(out, filled, known);
    memset((uint8_t *)out + known, 0, size - known);
    memcpy(out, &known, sizeof(known));
    return 0;
}
