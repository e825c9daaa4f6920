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
