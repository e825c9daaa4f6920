/*
 * print.c - text for people
 */
#include "tool.h"
#include "base/text.h"

#include <err.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool wants_colour(FILE *out)
{
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    return isatty(fileno(out)) && term != NULL && strcmp(term, "dumb") != 0 &&
           (no_colour == NULL || *no_colour == '\0');
}

const char *human_bytes(uint64_t bytes)
{
    static char texts[8][24];
    static unsigned next;
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    char *text = texts[next++ % 8];
    unsigned unit = 0;
    double value = (double)bytes;
    for (; value >= 1023.95 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        value /= 1024;
    snprintf(text, sizeof(texts[0]), unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}

const char *short_count(uint64_t count)
{
    static char texts[8][24];
    static unsigned next;
    static const char units[] = " kMGTPE";
    char *text = texts[next++ % 8];
    unsigned unit = 0;
    for (; count >= (unit == 0 ? 100000 : 10000); unit++)
        count /= 1000;
    snprintf(text, sizeof(texts[0]), unit == 0 ? "%" PRIu64 : "%" PRIu64 "%c", count, units[unit]);
    return text;
}

const char *plain_name(const char *name)
{
    static char texts[8][256];
    static unsigned next;
    char *text = texts[next++ % 8];
    snprintf(text, sizeof(texts[0]), "%s", name);
    make_plain(text);
    return text;
}

void make_plain(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == '\x7f')
            *text = '?';
}

const char *outside_caches(const struct views *views, size_t index, uint64_t *bytes)
{
    static const struct {
        const char *label, *item;
    } parts[] = {{"blocks above 32 KiB", "quarry_large"}, {"pages of files", "Cached"}};
    if (index >= sizeof(parts) / sizeof(parts[0]))
        return NULL;
    *bytes = views_meminfo(views, parts[index].item);
    return parts[index].label;
}

const char region_columns[] =
    "REGION       POLICY           SIZE        OUT       LENT REQUESTS FAILED     P99";

static const char *pages(uint64_t count, uint64_t page_bytes)
{
    return count == QY_VIEW_UNKNOWN ? "-" : human_bytes(count * page_bytes);
}

static void count(char *text, size_t bytes, uint64_t number)
{
    if (number == QY_VIEW_UNKNOWN)
        snprintf(text, bytes, "-");
    else
        snprintf(text, bytes, "%" PRIu64, number);
}

const char *region_line(const struct qy_region_view *region, uint64_t page_bytes)
{
    static char line[160];
    char requests[24], failures[24], p99[24];
    struct qy_text text;
    qy_text_init(&text, p99, sizeof(p99));
    qy_text_below_us(&text, qy_region_latency_us(region, 99), 7);
    count(requests, sizeof(requests), region->requests);
    count(failures, sizeof(failures), region->failures);
    snprintf(line, sizeof(line), "%-12.12s %-10s %10s %10s %10s %8s %6s %s",
             plain_name(region->name), qy_policy_name(region->policy),
             pages(region->total_pages, page_bytes), pages(region->out, page_bytes),
             pages(region->lent, page_bytes), requests, failures, p99);
    return line;
}

void print_views(FILE *out, const struct what *what, const struct views *views)
{
    struct qy_lens lens = views_lens(views);
    struct qy_text text;
    qy_text_init(&text, NULL, 0);
    what->print(&lens, &text); /* how long is it? */

    size_t bytes = text.length + 1;
    char *buffer = malloc(bytes);
    if (buffer == NULL)
        err(EXIT_FAILED, "quarry");
    qy_text_init(&text, buffer, bytes);
    what->print(&lens, &text);
    fputs(buffer, out);
    free(buffer);
}
