/*
 * Any bytes as a name and an address, a line each, and as a shown text: a form that folds is the
 * form of itself, and what is let through as a name can be stored.
 */
#include "service/user_fold.h"
#include "service/user_record.h"
#include "service/user_validate.h"

#include <stdlib.h>

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

struct folded {
    uint8_t data[USER_FOLDED_BYTES_MAX];
    size_t size;
};

static bool fold(struct bytes text, struct folded *ret_folded)
{
    int result = user_fold(text, ret_folded->data, &ret_folded->size);

    must(result == 0 || result == USER_FOLD_E_UNFIT);
    must(result != 0 || ret_folded->size <= USER_FOLDED_BYTES_MAX);
    return result == 0;
}

static void judge_name(struct bytes name)
{
    bool is_fine = user_fold_check_name(name) == USER_FOLD_FINE;
    struct folded once;
    struct folded twice;
    struct bytes folded;

    if (!fold(name, &once)) {
        must(!is_fine);
        return;
    }
    folded = (struct bytes){once.data, once.size};
    must(fold(folded, &twice));
    must(bytes_equal(folded, (struct bytes){twice.data, twice.size}));
    must(!is_fine || user_fold_check_name(folded) == USER_FOLD_FINE);
}

/* What is let through is UTF-8, folds, and has none of what reaches beyond it. */
static void judge_user(const struct user *user)
{
    struct user_faults faults = {0};
    struct folded folded;

    user_validate_sync(user, &faults);
    must(faults.count <= 3);
    for (unsigned i = 0; i < faults.count; i++) {
        must(faults.items[i].field != NULL && faults.items[i].problem != NULL);
    }
    if (faults.count == 0) {
        must(fold(user->username, &folded) && folded.size > 0);
        must(fold(user->email, &folded) && memchr(folded.data, '@', folded.size) != NULL);
        must(user_fold_check_text(user->username) == USER_FOLD_FINE);
        must(user_fold_check_text(user->email) == USER_FOLD_FINE);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes text = user_validate_trim((struct bytes){data, size});
    struct user user = {.username = text, .first_name = {data, size}};
    const uint8_t *end;

    if (text.size == 0) {
        return 0;
    }
    end = memchr(text.data, '\n', text.size);
    if (end != NULL) {
        user.username.size = (size_t)(end - text.data);
        user.email = user_validate_trim((struct bytes){end, text.size - user.username.size});
    }
    judge_name(text);
    judge_name(user.username);
    judge_name(user.email);
    judge_user(&user);
    return 0;
}
