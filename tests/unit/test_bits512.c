/*
 * test_bits512.c - base/bits512.h against the naive way of looking at bits
 */
#include "support.h"

#include "base/bits512.h"

/* Is [bit, bit + 2^order) an aligned run of set bits? */
static bool naive_run(uint64_t word, unsigned bit, unsigned order)
{
    if (bit % (1u << order) != 0)
        return false;
    for (unsigned i = 0; i < 1u << order; i++)
        if (!(word >> (bit + i) & 1))
            return false;
    return true;
}

static int naive_largest(uint64_t word)
{
    for (int order = QY_WORD_ORDER; order >= 0; order--)
        for (unsigned bit = 0; bit < QY_WORD_BITS; bit++)
            if (naive_run(word, bit, (unsigned)order))
                return order;
    return -1;
}

/* The order of the maximal free block that holds this bit. */
static int naive_block_order(uint64_t word, unsigned bit)
{
    for (int order = QY_WORD_ORDER; order >= 0; order--)
        if (naive_run(word, bit & ~((1u << order) - 1), (unsigned)order))
            return order;
    return -1;
}

static void check_word(uint64_t word)
{
    for (unsigned order = 0; order <= QY_WORD_ORDER; order++) {
        uint64_t runs = qy_word_runs(word, order);
        int smallest = QY_WORD_ORDER + 1;
        for (unsigned bit = 0; bit < QY_WORD_BITS; bit++) {
            assert_int_equal(runs >> bit & 1, naive_run(word, bit, order));
            int block = naive_block_order(word, bit);
            if (block >= (int)order && block < smallest)
                smallest = block;
        }
        if (runs == 0)
            continue;
        unsigned bit = qy_word_best_fit(word, order);
        assert_true(naive_run(word, bit, order));
        assert_int_equal(naive_block_order(word, bit), smallest);
    }
    assert_int_equal(qy_word_largest(word), naive_largest(word));
}

/* Wrong if it failed: a block would be found where frames are taken, or split needlessly. */
static void runs_largest_and_best_fit_are_the_naive_ones(void **state)
{
    (void)state;
    struct random random = {test_seed()};

    check_word(0);
    check_word(~UINT64_C(0));
    for (unsigned bit = 0; bit < QY_WORD_BITS; bit++) {
        check_word(UINT64_C(1) << bit);
        check_word(~(UINT64_C(1) << bit));
    }
    for (unsigned order = 0; order <= QY_WORD_ORDER; order++)
        for (unsigned bit = 0; bit < QY_WORD_BITS; bit += 1u << order)
            check_word(qy_word_mask(order) << bit);
    for (int i = 0; i < 1000; i++) {
        uint64_t word = random_next(&random);
        check_word(word);
        check_word(word & random_next(&random));
        check_word(word | random_next(&random) | random_next(&random));
    }
}

/* Wrong if it failed: a mask of an order would have another number of bits than its block. */
static void a_mask_has_as_many_low_bits_as_its_block_has_frames(void **state)
{
    (void)state;
    for (unsigned order = 0; order <= QY_WORD_ORDER; order++) {
        assert_int_equal(__builtin_popcountll(qy_word_mask(order)), 1 << order);
        assert_true(qy_word_mask(order) & 1);
        assert_true(naive_run(qy_word_mask(order), 0, order));
    }
}

/* Wrong if it failed: setting one of the 512 would touch another. */
static void each_bit_is_its_own(void **state)
{
    (void)state;
    struct qy_bits512 bits = {{0}};

    for (unsigned index = 0; index < 512; index++) {
        assert_false(qy_bits_test(&bits, index));
        qy_bits_set(&bits, index);
        assert_true(qy_bits_test(&bits, index));
        assert_int_equal(qy_bits_count(&bits), 1);
        qy_bits_clear(&bits, index);
        assert_int_equal(qy_bits_count(&bits), 0);
    }
    for (unsigned index = 0; index < 512; index++) {
        qy_bits_set(&bits, index);
        assert_int_equal(qy_bits_count(&bits), index + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_largest_and_best_fit_are_the_naive_ones),
        cmocka_unit_test(a_mask_has_as_many_low_bits_as_its_block_has_frames),
        cmocka_unit_test(each_bit_is_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
