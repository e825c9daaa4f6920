/*
 * print.c - the printers of quarry/view.h: each is a lens upon the live memory
 *
 * WHAT    qy_print_X() is qy_show_X() looking at a struct qy_mm.
 *
 * RULES   none: it only prints.
 *
 * LOCKS   live.c's.
 *
 * COST    The printer's.
 */
#include "view/live.h"

static void print(struct qy_mm *mm, struct qy_text *text,
                  void (*show)(const struct qy_lens *lens, struct qy_text *text))
{
    struct qy_totals totals;
    struct qy_live live = {.mm = mm, .totals = &totals};
    struct qy_lens lens = qy_live_lens(&live);
    show(&lens, text);
}

void qy_print_buddyinfo(struct qy_mm *mm, struct qy_text *text)
{
    print(mm, text, qy_show_buddyinfo);
}

void qy_print_pagetypeinfo(struct qy_mm *mm, struct qy_text *text)
{
    print(mm, text, qy_show_pagetypeinfo);
}

void qy_print_zoneinfo(struct qy_mm *mm, struct qy_text *text)
{
    print(mm, text, qy_show_zoneinfo);
}

void qy_print_meminfo(struct qy_mm *mm, struct qy_text *text)
{
    print(mm, text, qy_show_meminfo);
}

void qy_print_vmstat(struct qy_mm *mm, struct qy_text *text)
{
    print(mm, text, qy_show_vmstat);
}

void qy_print_slabinfo(struct qy_mm *mm, struct qy_text *text)
{
    print(mm, text, qy_show_slabinfo);
}

void qy_print_sysrq_m(struct qy_mm *mm, struct qy_text *text)
{
    print(mm, text, qy_show_sysrq_m);
}

void qy_print_cma(struct qy_mm *mm, struct qy_text *text)
{
    print(mm, text, qy_show_cma);
}
