/*
 * test_list.c - the ring of base/list.h
 */
#include "support.h"

#include "base/list.h"

struct thing {
    int number;
    struct qy_list link;
};

/* Both directions must show the same things, each once. */
static void assert_ring(const struct qy_list *head, const int *numbers, size_t count)
{
    size_t at = 0;
    qy_list_for_each (link, head) {
        assert_true(at < count);
        assert_int_equal(qy_list_entry(link, struct thing, link)->number, numbers[at]);
        assert_ptr_equal(link->next->prev, link);
        at++;
    }
    assert_int_equal(at, count);
    assert_ptr_equal(head->next->prev, head);
    assert_ptr_equal(head->prev->next, head);
}

/* Wrong if it failed: slabs and slots would get lost from, or stay on, their lists. */
static void things_come_and_go_at_both_ends_and_in_the_middle(void **state)
{
    (void)state;
    struct thing a = {.number = 1}, b = {.number = 2}, c = {.number = 3};
    struct qy_list head;

    qy_list_init(&head);
    assert_true(qy_list_empty(&head));
    qy_list_add(&head, &b.link);
    qy_list_add(&head, &a.link);
    qy_list_add_tail(&head, &c.link);
    assert_false(qy_list_empty(&head));
    assert_ring(&head, (int[]){1, 2, 3}, 3);

    qy_list_remove(&b.link);
    assert_ring(&head, (int[]){1, 3}, 2);
    assert_true(qy_list_empty(&b.link));
    qy_list_remove(&b.link); /* what is on no list may be removed again */
    assert_ring(&head, (int[]){1, 3}, 2);

    qy_list_remove(&a.link);
    qy_list_remove(&c.link);
    assert_true(qy_list_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(things_come_and_go_at_both_ends_and_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
