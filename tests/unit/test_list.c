#include "lib/unit.h"

#include "core/list.h"

struct item {
    int number;
    struct list link;
};

static void fill(struct list *list, struct item *items, int count)
{
    list_init(list);
    for (int i = 0; i < count; i++) {
        items[i].number = i;
        list_init(&items[i].link);
        list_push_back(list, &items[i].link);
    }
}

static int pop(struct list *list)
{
    struct list *link = list_pop_front(list);

    return link == NULL ? -1 : CONTAINER_OF(link, struct item, link)->number;
}

/* What was pushed at the back comes out at the front in the same order, and then nothing. */
START_TEST(list_is_a_queue)
{
    struct item items[3];
    struct list list;

    fill(&list, items, 3);
    ck_assert(!list_is_empty(&list));
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(pop(&list), i);
        ck_assert(!list_is_linked(&items[i].link));
    }
    ck_assert(list_is_empty(&list));
    ck_assert_int_eq(pop(&list), -1);
}

END_TEST

/* An element leaves from anywhere, and may leave twice. */
START_TEST(list_removes_from_the_middle)
{
    struct item items[3];
    struct list list;

    fill(&list, items, 3);
    list_remove(&items[1].link);
    list_remove(&items[1].link);
    ck_assert(!list_is_linked(&items[1].link));
    ck_assert_int_eq(pop(&list), 0);
    ck_assert_int_eq(pop(&list), 2);
    ck_assert_int_eq(pop(&list), -1);
}

END_TEST

/* A splice keeps the order of both lists and empties the second; an empty one changes nothing. */
START_TEST(list_splices)
{
    struct item first[2];
    struct item second[2];
    struct list to;
    struct list from;

    fill(&to, first, 2);
    fill(&from, second, 2);
    second[0].number = 2;
    second[1].number = 3;
    list_splice_back(&to, &from);
    ck_assert(list_is_empty(&from));
    list_splice_back(&to, &from);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pop(&to), i);
    }
    ck_assert(list_is_empty(&to));
    list_push_back(&from, &second[0].link);
    list_splice_back(&to, &from);
    ck_assert_int_eq(pop(&to), 2);
    ck_assert(list_is_empty(&to));
}

END_TEST

UNIT_MAIN("list", list_is_a_queue, list_removes_from_the_middle, list_splices)
