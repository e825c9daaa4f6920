/*
 * test_text.c - base/text.h: text into a buffer that may be too small
 */
#include "sim.h"
#include "support.h"

#include "base/text.h"

/* Wrong if it failed: reports would show other numbers than they were given. */
static void numbers_read_as_printf_writes_them(void **state)
{
    (void)state;
    const uint64_t values[] = {0, 1, 9, 10, 15, 16, 255, 4096, UINT32_MAX, UINT64_MAX};

    for (size_t i = 0; i < COUNT_OF(values); i++) {
        char got[64], want[64];
        struct qy_text text;
        qy_text_init(&text, got, sizeof(got));
        qy_text_u64(&text, values[i]);
        qy_text_char(&text, ' ');
        qy_text_hex(&text, values[i], 1);
        qy_text_string(&text, " ");
        qy_text_hex(&text, values[i], 8);
        int length =
            snprintf(want, sizeof(want), "%llu 0x%llx 0x%08llx", (unsigned long long)values[i],
                     (unsigned long long)values[i], (unsigned long long)values[i]);
        assert_string_equal(got, want);
        assert_int_equal(text.length, length);
    }
}

/* Wrong if it failed: a long report would be written past its buffer. */
static void what_does_not_fit_is_cut_and_counted(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 12; bytes++) {
        char buffer[16];
        struct qy_text text;
        memset(buffer, '#', sizeof(buffer));
        qy_text_init(&text, buffer, bytes);
        qy_text_string(&text, "pageblock");
        assert_int_equal(text.length, 9);
        size_t kept = bytes == 0 ? 0 : bytes - 1 < 9 ? bytes - 1 : 9;
        assert_memory_equal(buffer, "pageblock", kept);
        if (bytes > 0)
            assert_int_equal(buffer[kept], '\0');
        for (size_t i = bytes; i < sizeof(buffer); i++)
            assert_int_equal(buffer[i], '#');
        if (bytes > 0)
            qy_text_report(&text);
        assert_int_equal(strlen(qy_sim_last_line()), kept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_read_as_printf_writes_them),
        cmocka_unit_test(what_does_not_fit_is_cut_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
