#include "lib/unit.h"

#include "service/user_entry.h"
#include "service/user_page.h"

#define MESSAGE                                                                                    \
    "\x0a\x01"                                                                                     \
    "1" /* id = 1 */
#define MESSAGE_SIZE 3
#define ON_PAGE      "\x0a\x03" MESSAGE

static struct user_entry *new_entry(uint64_t sequence)
{
    struct user_record record = {
        .message = BYTES_LITERAL(MESSAGE),
        .sequence = sequence,
        .change = sequence,
        .user = {.id = BYTES_LITERAL("1"),
                 .username = BYTES_LITERAL("anna"),
                 .email = BYTES_LITERAL("a@x")},
    };
    struct user_entry *entry;

    ck_assert_int_eq(user_entry_new(&record, &entry), 0);
    return entry;
}

static void offer(struct user_page *page, uint64_t sequence)
{
    struct user_entry *entry = new_entry(sequence);

    ck_assert_int_eq(user_page_offer(page, entry), 0);
    free(entry);
}

static void expect(const struct user_page *page, const char *users, uint64_t last, bool has_more)
{
    ck_assert(bytes_equal(buf_bytes(&page->users), bytes_from_text(users)));
    ck_assert_uint_eq(page->count, strlen(users) / (2 + MESSAGE_SIZE));
    ck_assert_uint_eq(page->last, last);
    ck_assert_int_eq(page->has_more, has_more);
}

/* So many users have a place on the page, each as field 1 of the reply; one more is only noted. */
START_TEST(user_page_takes_so_many_users)
{
    struct user_page page = {.count_max = 2, .bytes_max = 1000};

    expect(&page, "", 0, false);
    offer(&page, 4);
    offer(&page, 7);
    expect(&page, ON_PAGE ON_PAGE, 7, false);
    offer(&page, 8);
    offer(&page, 9);
    expect(&page, ON_PAGE ON_PAGE, 7, true);
    user_page_deinit(&page);
}

END_TEST

/* So many bytes have a place on it, but the first user always has. */
START_TEST(user_page_takes_so_many_bytes)
{
    struct user_page page = {.count_max = 10, .bytes_max = 2 * (2 + MESSAGE_SIZE)};

    offer(&page, 1);
    offer(&page, 2);
    expect(&page, ON_PAGE ON_PAGE, 2, false);
    offer(&page, 3);
    expect(&page, ON_PAGE ON_PAGE, 2, true);
    user_page_deinit(&page);
    page = (struct user_page){.count_max = 10, .bytes_max = 1};
    offer(&page, 1);
    expect(&page, ON_PAGE, 1, false);
    offer(&page, 2);
    expect(&page, ON_PAGE, 1, true);
    user_page_deinit(&page);
}

END_TEST

UNIT_MAIN("user_page", user_page_takes_so_many_users, user_page_takes_so_many_bytes)
