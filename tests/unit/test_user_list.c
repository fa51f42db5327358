#include "allocation_faults.h"
#include "list_fixture.h"

/* Calls, and checks how it is refused. */
static void refuse(int page_size, const char *token, const char *filter, const char *reason,
                   const char *field)
{
    static struct fake_call call;

    list(&call, page_size, token, filter);
    expect_refusal(&call, GRPC_STATUS_INVALID_ARGUMENT, reason, field);
    fake_call_deinit(&call);
}

/* Pages of 50 unless asked otherwise, at most of max_page_size; all with the number of users; a
 * token on every page but the last, also when the last one is full. */
START_TEST(user_list_gives_pages)
{
    struct user_lister_options options = DEFAULTS;
    const struct page *page;

    start();
    put_many(0, 150);
    page = get_page(0, NULL, NULL);
    ck_assert_uint_eq(page->count, 50);
    ck_assert_uint_eq(page->numbers[0], 0);
    ck_assert_uint_eq(page->numbers[49], 49);
    ck_assert_uint_eq(page->total, 150);
    page = get_page(99, page->token, "");
    ck_assert_uint_eq(page->count, 99);
    ck_assert_uint_eq(page->numbers[0], 50);
    page = get_page(1, page->token, NULL);
    ck_assert_uint_eq(page->count, 1);
    ck_assert_uint_eq(page->numbers[0], 149);
    ck_assert_str_eq(page->token, "");
    ck_assert_uint_eq(page->total, 150);
    options.max_page_size = 20;
    make_lister(&options);
    ck_assert_uint_eq(get_page(0, NULL, NULL)->count, 20);
    ck_assert_uint_eq(get_page(INT32_MAX, NULL, NULL)->count, 20);
    ck_assert_uint_eq(fixture.stats->by_walk, 2);
    ck_assert_uint_eq(fixture.stats->users_examined, 0);
    finish();
}

END_TEST

/* Nobody there: an empty page, and the end. */
START_TEST(user_list_of_nobody_is_empty)
{
    static struct fake_call call;

    start();
    for (int i = 0; i < 3; i++) {
        list(&call, 0, NULL, i == 0 ? NULL : i == 1 ? "id = u1" : "roles:admin");
        ck_assert_int_eq(call.status, GRPC_STATUS_OK);
        ck_assert_uint_eq(buf_size(&call.reply), 0);
        fake_call_deinit(&call);
    }
    finish();
}

END_TEST

/* A page ends, with a token, before it is larger than max_page_bytes; but one user always fits. */
START_TEST(user_list_limits_the_bytes_of_a_page)
{
    struct user_lister_options options = DEFAULTS;
    static struct fake_call call;
    const struct page *page;

    start();
    put_many(0, 30);
    options.max_page_bytes = 500;
    make_lister(&options);
    list(&call, 0, NULL, NULL);
    page = page_of(&call);
    ck_assert_uint_gt(page->count, 3);
    ck_assert_uint_lt(page->count, 20);
    ck_assert_str_ne(page->token, "");
    ck_assert_uint_le(buf_size(&call.reply), 500 + 100); /* token and number come on top */
    fake_call_deinit(&call);
    options.max_page_bytes = 10;
    make_lister(&options);
    page = get_page(0, NULL, NULL);
    ck_assert_str_eq(numbers_of(page), "0");
    page = get_page(0, page->token, NULL);
    ck_assert_str_eq(numbers_of(page), "1");
    finish();
}

END_TEST

/* What is wrong with a request is told, with the field it is about. */
START_TEST(user_list_refuses_bad_requests)
{
    static const struct {
        const char *message;
        const char *reason;
        enum grpc_status status;
    } messages[] = {
        {"\x0a\x01x", "MALFORMED_MESSAGE", GRPC_STATUS_INTERNAL}, /* page_size is no text */
        {"\x10\x01", "MALFORMED_MESSAGE", GRPC_STATUS_INTERNAL},  /* page_token is no number */
        {"\x1a\x05"
         "abc",
         "MALFORMED_MESSAGE", GRPC_STATUS_INTERNAL},
        {"\x1a\x02\xff\xff", "MALFORMED_MESSAGE", GRPC_STATUS_INTERNAL}, /* no UTF-8 */
        {"\x08\x01\x08\x01\x08\x01\x08\x01\x08\x01\x08\x01\x08\x01\x08\x01\x08\x01\x08\x01\x08\x01"
         "\x08\x01\x08\x01\x08\x01\x08\x01\x08\x01\x08\x01\x08\x01\x08\x01\x08\x01\x08\x01",
         "TOO_MANY_FIELDS", GRPC_STATUS_INVALID_ARGUMENT},
    };
    static struct fake_call call;
    char filter[102];

    start();
    refuse(-1, NULL, NULL, "INVALID_PAGE_SIZE", "page_size: ");
    refuse(INT32_MIN, NULL, NULL, "INVALID_PAGE_SIZE", "page_size: ");
    refuse(0, "50", NULL, "INVALID_PAGE_TOKEN", "page_token: ");
    refuse(0, NULL, "nonsense = 1", "INVALID_FILTER", "filter: at byte 0: ");
    memset(filter, 'a', 101);
    filter[101] = '\0';
    refuse(0, NULL, filter, "FILTER_TOO_LONG", "filter: ");
    ck_assert_uint_eq(fixture.reactor.limits_hit.counts[LIMITS_HIT_FILTER], 1);
    filter[100] = '\0';
    ck_assert_uint_eq(get_page(0, NULL, filter)->count, 0);
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        call_with(&call, bytes_from_text(messages[i].message));
        expect_refusal(&call, messages[i].status, messages[i].reason, "");
        fake_call_deinit(&call);
    }
    call_with(&call, BYTES_LITERAL("\x1a\x03"
                                   "a\0b"));
    expect_refusal(&call, GRPC_STATUS_INVALID_ARGUMENT, "NUL_IN_TEXT",
                   "filter: must not have U+0000; ");
    fake_call_deinit(&call);
    call_with(&call, BYTES_LITERAL("\x12\x03"
                                   "a\0b"));
    expect_refusal(&call, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", "page_token: ");
    fake_call_deinit(&call);
    list(&call, 0, NULL, "id = u1 AND status = NOBODY");
    expect_refusal(&call, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_FILTER", "filter: at byte ");
    ck_assert_str_ne(call.metadata, "position=0; ");
    fake_call_deinit(&call);
    finish();
}

END_TEST

/* All bad fields are named at once. A token is bound to its filter, so beside a bad one it is named
 * only when it is no token at all. */
START_TEST(user_list_names_all_bad_fields)
{
    static const char *const filters[] = {
        "nonsense = 1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    static struct fake_call call;
    char token[PAGE_TOKEN_SIZE_MAX];

    start();
    put_many(0, 20);
    (void)snprintf(token, sizeof(token), "%s", get_page(5, NULL, NULL)->token);
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        list(&call, -1, "junk", filters[i]);
        expect_refusal(&call, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_PAGE_SIZE", "page_size: ");
        ck_assert_ptr_nonnull(strstr(call.fields, "; filter: "));
        ck_assert_ptr_nonnull(strstr(call.fields, "; page_token: "));
        fake_call_deinit(&call);
        list(&call, -1, token, filters[i]);
        expect_refusal(&call, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_PAGE_SIZE", "page_size: ");
        ck_assert_ptr_nonnull(strstr(call.fields, "; filter: "));
        ck_assert_ptr_null(strstr(call.fields, "page_token: "));
        fake_call_deinit(&call);
    }
    token[3] = '*';
    list(&call, 0, token, "nonsense = 1");
    expect_refusal(&call, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_FILTER", "filter: at byte 0: ");
    ck_assert_ptr_nonnull(strstr(call.fields, "; page_token: "));
    fake_call_deinit(&call);
    list(&call, -1, "junk", "roles:admin");
    expect_refusal(&call, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_PAGE_SIZE", "page_size: ");
    ck_assert_ptr_nonnull(strstr(call.fields, "; page_token: "));
    ck_assert_ptr_null(strstr(call.fields, "filter: "));
    fake_call_deinit(&call);
    finish();
}

END_TEST

/* A token that was changed in any byte, or is of another filter or another key, is refused. */
START_TEST(user_list_takes_its_own_tokens_only)
{
    struct user_lister_options options = DEFAULTS;
    char token[PAGE_TOKEN_SIZE_MAX];

    start();
    put_many(0, 100);
    (void)snprintf(token, sizeof(token), "%s", get_page(5, NULL, "roles:admin")->token);
    for (char *at = token; *at != '\0'; at++) {
        char kept = *at;

        *at = kept == 'A' ? 'B' : 'A';
        refuse(5, token, "roles:admin", "INVALID_PAGE_TOKEN", "page_token: ");
        *at = '\0';
        if (at > token) { /* an empty one is none */
            refuse(5, token, "roles:admin", "INVALID_PAGE_TOKEN", "page_token: ");
        }
        *at = kept;
    }
    refuse(5, token, NULL, "INVALID_PAGE_TOKEN", "page_token: ");
    refuse(5, token, " roles:admin", "INVALID_PAGE_TOKEN", "page_token: ");
    ck_assert_str_eq(numbers_of(get_page(7, token, "roles:admin")), "50 60 70 80 90");
    options.page_token_key.bytes[31] = 1;
    make_lister(&options);
    refuse(5, token, "roles:admin", "INVALID_PAGE_TOKEN", "page_token: ");
    finish();
}

END_TEST

/* While users come and go between the pages, none is missed or repeated that was there all the
 * time, with a filter and without. */
START_TEST(user_list_misses_and_repeats_nobody)
{
    static const char *const filters[] = {NULL, "status = ACTIVE", "NOT roles:admin"};
    static unsigned seen[USERS_MAX];
    static bool stays[USERS_MAX];
    char token[PAGE_TOKEN_SIZE_MAX];

    for (unsigned f = 0; f < 3; f++) {
        unsigned next = 1000;
        uint32_t random = 1;

        start();
        put_many(0, next);
        memset(seen, 0, sizeof(seen));
        for (unsigned i = 0; i < USERS_MAX; i++) {
            stays[i] = i < 1000 && i % 3 != 0; /* the others are deleted now and then */
        }
        token[0] = '\0';
        do {
            const struct page *page = get_page(1 + (int)(random % 60), token, filters[f]);

            (void)snprintf(token, sizeof(token), "%s", page->token);
            for (unsigned i = 0; i < page->count; i++) {
                seen[page->numbers[i]]++;
            }
            for (unsigned i = 0; i < 20; i++) {
                random = random * 1664525 + 1013904223;
                if (fixture.sequences[random % next / 3 * 3] != 0) {
                    drop(random % next / 3 * 3);
                }
            }
            put(random % 1000 / 3 * 3 + 1, "Changed"); /* keeps its place */
            if (next < 1100) {
                put(next++, "New");
            }
        } while (token[0] != '\0');
        for (unsigned i = 0; i < USERS_MAX; i++) {
            bool matches = f < 2 || i % 10 != 0;

            ck_assert_uint_le(seen[i], 1);
            ck_assert_uint_eq(stays[i] && matches && seen[i] == 0, 0);
        }
        finish();
    }
}

END_TEST

/* A filter that asks for one id, username or e-mail looks at one user, and says so. */
START_TEST(user_list_answers_from_an_index)
{
    static const struct {
        const char *filter;
        const char *numbers;
    } cases[] = {
        {"id = u17", "17"},
        {"username = uSER17", "17"},
        {"email = \"USER17@x\"", "17"},
        {"status = ACTIVE AND id = u20 AND roles:admin", "20"},
        {"id = u17 AND roles:admin", ""},
        {"id = u1000", ""},
        {"id = u17 AND username = user18", ""},
    };
    static struct fake_call call;

    start();
    put_many(0, 100);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct page *page;

        list(&call, 0, NULL, cases[i].filter);
        page = page_of(&call);
        ck_assert_str_eq(numbers_of(page), cases[i].numbers);
        ck_assert_uint_eq(page->total, page->count);
        ck_assert_str_eq(page->token, "");
        ck_assert_str_eq(call.trailers, "users-list-plan=index; ");
        fake_call_deinit(&call);
    }
    ck_assert_uint_eq(fixture.stats->by_index, sizeof(cases) / sizeof(cases[0]));
    ck_assert_uint_le(fixture.stats->users_examined, sizeof(cases) / sizeof(cases[0]));
    ck_assert_uint_eq(fixture.stats->by_scan, 0);
    finish();
}

END_TEST

/* The trailers name the plan. A filter of blanks is none. */
START_TEST(user_list_names_its_plan)
{
    static struct fake_call call;

    start();
    put_many(0, 10);
    list(&call, 0, NULL, " \t\n");
    ck_assert_uint_eq(page_of(&call)->count, 10);
    ck_assert_str_eq(call.trailers, "users-list-plan=walk; ");
    fake_call_deinit(&call);
    list(&call, 0, NULL, "roles:admin");
    ck_assert_uint_eq(page_of(&call)->count, 1);
    ck_assert_str_eq(call.trailers, "users-list-plan=scan; ");
    fake_call_deinit(&call);
    finish();
}

END_TEST

/* With a filter the number is that of the users that match, on every page; it is counted again only
 * when something has changed, and a page that need not count ends where the next one begins. */
START_TEST(user_list_counts_what_matches)
{
    const struct page *page;

    start();
    put_many(0, 1000);
    page = get_page(10, NULL, "roles:admin");
    ck_assert_str_eq(numbers_of(page), "0 10 20 30 40 50 60 70 80 90");
    ck_assert_uint_eq(page->total, 100);
    ck_assert_uint_eq(fixture.stats->users_examined, 1000);
    page = get_page(10, page->token, "roles:admin");
    ck_assert_uint_eq(page->numbers[0], 100);
    ck_assert_uint_eq(page->total, 100);
    ck_assert_uint_eq(fixture.stats->users_examined, 1000 + 110);
    put(990, "Changed");
    drop(0);
    drop(1);
    page = get_page(10, page->token, "roles:admin");
    ck_assert_uint_eq(page->numbers[0], 200);
    ck_assert_uint_eq(page->total, 99);
    ck_assert_uint_eq(fixture.stats->users_examined, 1000 + 110 + 998);
    page = get_page(1000, page->token, "roles:admin");
    ck_assert_uint_eq(page->count, 70);
    ck_assert_uint_eq(page->total, 99);
    ck_assert_str_eq(page->token, "");
    finish();
}

END_TEST

/* Without memory, for the call or for its page, it ends with RESOURCE_EXHAUSTED, and nothing leaks.
 */
START_TEST(user_list_survives_a_lack_of_memory)
{
    static const struct {
        const char *filter;
        unsigned allocations; /* so many are made at least, before the reply */
    } cases[] = {{NULL, 3}, {"id = u17", 2}, {"roles:admin", 3}};
    static struct fake_call call;

    start();
    put_many(0, 300);
    for (unsigned i = 0; i < 3; i++) {
        struct request request = {5, NULL, cases[i].filter};
        struct buf message = message_of(&request);

        for (unsigned nth = 1; nth <= cases[i].allocations; nth++) {
            fake_call_init(&call);
            allocation_faults_arm(nth);
            user_lister_handle(fixture.lister, &call.call, buf_bytes(&message));
            ck_assert(allocation_faults_disarm());
            expect_refusal(&call, GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "");
            fake_call_deinit(&call);
        }
        buf_deinit(&message);
    }
    finish();
}

END_TEST

UNIT_MAIN("user_list", user_list_gives_pages, user_list_of_nobody_is_empty,
          user_list_limits_the_bytes_of_a_page, user_list_refuses_bad_requests,
          user_list_names_all_bad_fields, user_list_takes_its_own_tokens_only,
          user_list_misses_and_repeats_nobody, user_list_answers_from_an_index,
          user_list_names_its_plan, user_list_counts_what_matches,
          user_list_survives_a_lack_of_memory)
