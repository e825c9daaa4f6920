/*
 * slabinfo.c - the chain of caches, a line each
 *
 * WHAT    /proc/slabinfo, version 2.1. active_objs are the objects that somebody holds;
 *         num_objs are all that the cache's slabs have room for; limit, batchcount and
 *         sharedfactor are the magazines' figures.
 *
 * RULES   none: it only prints.
 *
 * LOCKS   none.
 *
 * COST    Whatever the lens costs a cache.
 */
#include "base/text.h"
#include "view/lens.h"

static void line(const struct qy_cache_view *cache, struct qy_text *text)
{
    struct {
        const char *before;
        uint64_t value;
        unsigned width;
    } columns[] = {
        {" ", cache->active_objs, 6},
        {" ", cache->num_objs, 6},
        {" ", cache->objsize, 6},
        {" ", cache->objperslab, 4},
        {" ", cache->pagesperslab, 4},
        {" : tunables ", cache->limit, 4},
        {" ", cache->batchcount, 4},
        {" ", cache->sharedfactor, 4},
        {" : slabdata ", cache->active_slabs, 6},
        {" ", cache->num_slabs, 6},
        {" ", cache->sharedavail, 6},
    };
    qy_text_string_left(text, cache->name, 17);
    for (size_t c = 0; c < sizeof(columns) / sizeof(columns[0]); c++) {
        qy_text_string(text, columns[c].before);
        qy_text_u64_right(text, columns[c].value, columns[c].width);
    }
    qy_text_char(text, '\n');
}

void qy_show_slabinfo(const struct qy_lens *lens, struct qy_text *text)
{
    qy_text_string(text, "slabinfo - version: 2.1\n");
    qy_text_string(text, "# name            <active_objs> <num_objs> <objsize> <objperslab> "
                         "<pagesperslab>");
    qy_text_string(text, " : tunables <limit> <batchcount> <sharedfactor>");
    qy_text_string(text, " : slabdata <active_slabs> <num_slabs> <sharedavail>\n");

    struct qy_cache_view cache;
    for (size_t c = 0; qy_look_cache(lens, c, &cache); c++)
        line(&cache, text);
}
