/*
 * cmainfo.c - contiguous regions side by side
 *
 * WHAT    Linux has a folder for each region, /sys/kernel/mm/cma/NAME, with a file for each
 *         figure. This is one table of them, under the files' own names, and of what Quarry
 *         knows besides; where Linux does not say, a dash:
 *
 *             pages of 4 KiB            default        camera
 *             policy                      eager    guaranteed
 *             total_pages                 16384          4096
 *             ...
 *
 *         As many regions stand side by side as 80 columns hold, the others below them.
 *
 * RULES   none: it only prints.
 *
 * LOCKS   none.
 *
 * COST    The lens is asked for each region once for each line.
 */
#include "base/text.h"
#include "view/lens.h"

#include <quarry/cma.h>

#define LABEL_WIDTH 22
#define LEAST_WIDTH 14
#define LINE_WIDTH 80

#define FIGURE(name)                                                                               \
    {                                                                                              \
#name, offsetof(struct qy_region_view, name)                                               \
    }

const struct qy_region_figure qy_region_figures[QY_REGION_FIGURES] = {
    FIGURE(total_pages),
    FIGURE(available_pages),
    FIGURE(alloc_pages_success),
    FIGURE(alloc_pages_fail),
    FIGURE(release_pages_success),
    FIGURE(out),
    FIGURE(lent),
    FIGURE(free),
    FIGURE(requests),
    FIGURE(failures),
    FIGURE(moved),
    FIGURE(dropped),
    FIGURE(written),
};

const char *qy_policy_name(uint64_t policy)
{
    static const char *const names[] = {
        [QY_CMA_LINUX] = "linux", [QY_CMA_EAGER] = "eager", [QY_CMA_GUARANTEED] = "guaranteed"};
    return policy < sizeof(names) / sizeof(names[0]) ? names[policy] : "-";
}

uint64_t qy_region_latency_us(const struct qy_region_view *region, unsigned percent)
{
    uint64_t all = 0, below = 0;
    for (unsigned i = 0; i < QY_VIEW_LATENCIES; i++)
        all += region->latency[i];
    uint64_t wanted = all - all / 100 * (100 - percent) - all % 100 * (100 - percent) / 100;
    for (unsigned i = 0; i < QY_VIEW_LATENCIES && all > 0; i++) {
        below += region->latency[i];
        if (below >= wanted)
            return UINT64_C(1) << i;
    }
    return 0;
}

static unsigned length(const char *string)
{
    unsigned count = 0;
    while (string[count] != '\0')
        count++;
    return count;
}

static unsigned column_width(const struct qy_region_view *region)
{
    unsigned name = length(region->name) + 2;
    return name > LEAST_WIDTH ? name : LEAST_WIDTH;
}

static void number(struct qy_text *text, uint64_t value, unsigned width)
{
    if (value == QY_VIEW_UNKNOWN)
        qy_text_string_right(text, "-", width);
    else
        qy_text_u64_right(text, value, width);
}

void qy_text_below_us(struct qy_text *text, uint64_t below_us, unsigned width)
{
    char buffer[32];
    struct qy_text cell;
    bool in_us = below_us < 10000, in_ms = below_us < 10000000;
    if (below_us == 0) {
        qy_text_string_right(text, "-", width);
        return;
    }
    qy_text_init(&cell, buffer, sizeof(buffer));
    qy_text_char(&cell, '<');
    qy_text_u64(&cell, in_us   ? below_us
                       : in_ms ? (below_us + 999) / 1000
                               : (below_us + 999999) / 1000000);
    qy_text_string(&cell, in_us ? "us" : in_ms ? "ms" : "s");
    qy_text_string_right(text, buffer, width);
}

enum line {
    NAME,
    POLICY,
    FIRST_FIGURE,
    FIRST_LATENCY = FIRST_FIGURE + QY_REGION_FIGURES,
    NR_LINES = FIRST_LATENCY + 4
};

static const struct {
    const char *label;
    unsigned percent;
} latencies[] = {
    {"latency p50", 50},
    {"latency p90", 90},
    {"latency p99", 99},
    {"latency max", 100},
};

static void label(struct qy_text *text, unsigned line)
{
    const char *name = line == NAME           ? "pages of 4 KiB"
                       : line == POLICY       ? "policy"
                       : line < FIRST_LATENCY ? qy_region_figures[line - FIRST_FIGURE].name
                                              : latencies[line - FIRST_LATENCY].label;
    qy_text_string_left(text, name, LABEL_WIDTH);
}

static void cell(struct qy_text *text, const struct qy_region_view *region, unsigned line)
{
    unsigned width = column_width(region);
    if (line == NAME)
        qy_text_string_right(text, region->name, width);
    else if (line == POLICY)
        qy_text_string_right(text, qy_policy_name(region->policy), width);
    else if (line < FIRST_LATENCY)
        number(
            text,
            *(const uint64_t *)((const char *)region + qy_region_figures[line - FIRST_FIGURE].at),
            width);
    else
        qy_text_below_us(
            text, qy_region_latency_us(region, latencies[line - FIRST_LATENCY].percent), width);
}

/** How many regions from @first on stand side by side: one at least. */
static size_t side_by_side(const struct qy_lens *lens, size_t first)
{
    struct qy_region_view region;
    size_t count = 0;
    unsigned width = LABEL_WIDTH;
    while (qy_look_region(lens, first + count, &region)) {
        width += column_width(&region);
        if (width > LINE_WIDTH && count > 0)
            break;
        count++;
    }
    return count;
}

void qy_show_cma(const struct qy_lens *lens, struct qy_text *text)
{
    struct qy_region_view region;
    size_t count;
    for (size_t first = 0; (count = side_by_side(lens, first)) > 0; first += count) {
        qy_text_string(text, first > 0 ? "\n" : "");
        for (unsigned line = NAME; line < NR_LINES; line++) {
            label(text, line);
            for (size_t r = first; r < first + count; r++)
                if (qy_look_region(lens, r, &region))
                    cell(text, &region, line);
            qy_text_char(text, '\n');
        }
    }
}
