/*
 * If this failed: programs that tune or report their heap through mallopt, mallinfo or malloc_info
 * would be refused, or would be told numbers that have nothing to do with what they hold.
 */
#include "contract.h"

/* Well-formed: tags nest, quotes close, one root. Enough of XML for malloc_info. */
static void expect_xml(const char *text)
{
    char open_tags[32][64];
    int depth = 0, roots = 0;
    EXPECT(text[0] == '<', "XML that starts with a tag, came '%.20s'", text);
    for (const char *at = text; *at;) {
        if (*at != '<') {
            EXPECT(*at != '>' && (depth > 0 || strchr(" \t\r\n", *at)),
                   "no text outside of the root, came '%.20s'", at);
            at++;
            continue;
        }
        const char *end = strchr(at, '>');
        EXPECT(end, "a tag that is closed, came '%.20s'", at);
        if (at[1] == '?' || at[1] == '!') {
            at = end + 1;
            continue;
        }
        int quotes = 0;
        for (const char *c = at; c < end; c++) {
            quotes += *c == '"';
            EXPECT(c == at || *c != '<', "no '<' inside a tag, came '%.20s'", c);
        }
        EXPECT(quotes % 2 == 0, "quotes that close, came '%.40s'", at);
        bool closing = at[1] == '/';
        const char *name = at + 1 + closing;
        size_t length = strcspn(name, " \t\r\n/>");
        EXPECT(length > 0 && length < 64, "a tag's name, came '%.20s'", at);
        if (closing) {
            EXPECT(depth > 0 && strlen(open_tags[depth - 1]) == length &&
                       memcmp(open_tags[depth - 1], name, length) == 0,
                   "the end of <%s>, came '%.20s'", depth ? open_tags[depth - 1] : "", at);
            depth--;
        } else {
            roots += depth == 0;
            if (end[-1] != '/') {
                EXPECT(depth < 32, "tags less than 32 deep");
                memcpy(open_tags[depth], name, length);
                open_tags[depth++][length] = 0;
            }
        }
        at = end + 1;
    }
    EXPECT(depth == 0, "every tag closed, <%s> is open", open_tags[depth - 1]);
    EXPECT(roots == 1, "one root, came %d", roots);
}

static void info_is_xml(void)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    EXPECT(out, "a stream in memory");
    int came = malloc_info(0, out);
    EXPECT(came == 0, "0 from malloc_info(0, …), came %d", came);
    fclose(out);
    EXPECT(strncmp(text, "<malloc", 7) == 0, "<malloc version=…> first, came '%.30s'", text);
    expect_xml(text);
    free(text);

    out = fopen("/dev/null", "w");
    errno = 0;
    came = malloc_info(1, out);
    EXPECT(came != 0, "an error from malloc_info(1, …), which no version knows");
    fclose(out);
}

static void options_are_taken(void)
{
    static const struct {
        const char *name;
        int key, value;
    } known[] = {
        {"M_MXFAST", M_MXFAST, 64},           {"M_TRIM_THRESHOLD", M_TRIM_THRESHOLD, 256 * 1024},
        {"M_TOP_PAD", M_TOP_PAD, 128 * 1024}, {"M_MMAP_THRESHOLD", M_MMAP_THRESHOLD, 128 * 1024},
        {"M_MMAP_MAX", M_MMAP_MAX, 65536},    {"M_CHECK_ACTION", M_CHECK_ACTION, 3},
        {"M_PERTURB", M_PERTURB, 0},          {"M_ARENA_TEST", M_ARENA_TEST, 2},
        {"M_ARENA_MAX", M_ARENA_MAX, 2},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        int came = mallopt(known[i].key, known[i].value);
        EXPECT(came == 1, "1 from mallopt(%s, %d), came %d", known[i].name, known[i].value, came);
    }
}

static void numbers_follow(size_t size, size_t count)
{
    void **blocks = own_pages(count * sizeof *blocks);
    struct mallinfo2 before = mallinfo2();
    for (size_t i = 0; i < count; i++) {
        blocks[i] = malloc(size);
        EXPECT(blocks[i], "a block of %zu bytes", size);
        memset(blocks[i], 1, size);
    }
    struct mallinfo2 full = mallinfo2();
    size_t held = count * size;
    size_t grown = full.uordblks + full.hblkhd - before.uordblks - before.hblkhd;
    EXPECT(grown >= held - held / 8 && grown <= held * 2,
           "uordblks + hblkhd to grow by about %zu with %zu blocks of %zu, came %zu", held, count,
           size, grown);
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
    struct mallinfo2 after = mallinfo2();
    size_t left = after.uordblks + after.hblkhd;
    /* Hardening keeps freed blocks back for a while, and counts them. */
    if (getenv("QUARRY_HARDEN"))
        held *= 10;
    EXPECT(left <= before.uordblks + before.hblkhd + held / 4 + 64 * KIB,
           "uordblks back at %zu after freeing blocks of %zu, came %zu", before.uordblks, size,
           left);
    munmap(blocks, count * sizeof *blocks);
}

/* mallinfo(3): arena is all that came from the system by brk, or what stands for it; uordblks what
 * is in use of it, fordblks what is free in it, also what lies freed among blocks in use. */
static void numbers_add_up(void)
{
    enum {
        COUNT = 40000,
        SIZE = 200
    };
    void **blocks = own_pages(COUNT * sizeof *blocks);
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = malloc(SIZE);
    struct mallinfo2 full = mallinfo2();
    for (size_t i = 0; i < COUNT; i++)
        if (i % 4 != 0)
            free(blocks[i]);
    struct mallinfo2 sparse = mallinfo2();
    size_t freed = COUNT / 4 * 3 * SIZE, fewer = full.uordblks - sparse.uordblks;
    EXPECT(full.uordblks + full.fordblks == full.arena, "uordblks %zu and fordblks %zu make arena",
           full.uordblks, full.fordblks);
    EXPECT(sparse.uordblks + sparse.fordblks == sparse.arena, "the same after frees");
    EXPECT(sparse.keepcost <= sparse.fordblks, "what can be released is free");
    EXPECT(full.uordblks > sparse.uordblks && fewer > freed / 2 && fewer < freed * 2,
           "about %zu less in use where others live among them, came %zu", freed, fewer);
    for (size_t i = 0; i < COUNT; i += 4)
        free(blocks[i]);
    munmap(blocks, COUNT * sizeof *blocks);
}

/* malloc_stats(3): on the standard error, what came from the system and what is in use of it. */
static void stats_are_printed(void)
{
    char text[4096] = "";
    int ends[2], kept_stderr = dup(STDERR_FILENO);
    EXPECT(pipe(ends) == 0, "a pipe");
    dup2(ends[1], STDERR_FILENO);
    malloc_stats();
    dup2(kept_stderr, STDERR_FILENO);
    EXPECT(read(ends[0], text, sizeof text - 1) > 0, "lines on the standard error");
    char *system = strstr(text, "system bytes     = "),
         *in_use = strstr(text, "in use bytes     = ");
    EXPECT(system && in_use, "both counts, came '%s'", text);
    unsigned long all = strtoul(system + 19, NULL, 10), used = strtoul(in_use + 19, NULL, 10);
    EXPECT(used > 0 && used <= all, "0 < %lu <= %lu", used, all);
    close(ends[0]);
    close(ends[1]);
    close(kept_stderr);
}

int main(void)
{
    deadline(30);
    numbers_add_up();
    stats_are_printed();
    options_are_taken();
    info_is_xml();
    numbers_follow(1000, 8000);
    numbers_follow(20000, 400);
    numbers_follow(3 * MIB, 4);
    info_is_xml();
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo old = mallinfo();
    EXPECT(old.arena >= 0 && old.uordblks >= 0, "mallinfo's numbers not negative");

    int trimmed = malloc_trim(0);
    EXPECT(trimmed == 0 || trimmed == 1, "0 or 1 from malloc_trim, came %d", trimmed);
    return 0;
}
