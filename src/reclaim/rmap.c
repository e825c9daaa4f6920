/*
 * rmap.c - from pages of a file to the entries of all spaces that name their frames
 *
 * WHAT    A folio that is MAPPED may have entries; the file's mappers know the spaces, and their
 *         areas the pages (space/backing.h). Before a frame goes or is moved all its entries go;
 *         before its page is written back they lose the right to write, so that who writes after
 *         that is seen again (Linux: try_to_unmap, page_mkclean).
 *
 *         MAPPED is a hint one way: a space that unmaps an area does not ask the file.
 *
 * RULES   V8  in space/backing.h; W6  in reclaim/file.h.
 *
 * LOCKS   The file's mapping.lock is held; each space's inside it. Pages get entries under the
 *         file's lock only, so what was taken away stays so while it is held.
 *
 * COST    Nothing for a file that no space has. Else a look at each area of the file, and a call of
 *         the port for each that has some of the pages.
 */
#include "base/assert.h"
#include "base/errno.h"
#include "reclaim/file.h"

static struct qy_mapper *mapper_of(struct qy_list *link)
{
    return qy_list_entry(link, struct qy_mapper, in_backing);
}

int qy_file_unmap(struct qy_file *file, uint32_t page, uint64_t count)
{
    qy_list_for_each (link, &file->mappers) {
        int code = qy_mapper_unmap(mapper_of(link), page, count);
        if (code != 0)
            return code;
    }
    uint32_t at = page;
    while (file->was_mapped && qy_index_next(&file->index, &at, false) && at - page < count) {
        qy_file_folio(file, qy_index_get(&file->index, at))->flags &= (uint8_t)~QY_FOLIO_MAPPED;
        if (at++ == UINT32_MAX)
            break;
    }
    return 0;
}

bool qy_file_unmap_page(struct qy_file *file, uint32_t page, uint32_t frame)
{
    struct qy_folio *folio = qy_file_folio(file, frame);
    if (qy_likely(!(folio->flags & QY_FOLIO_MAPPED)))
        return true;
    qy_list_for_each (link, &file->mappers)
        if (qy_mapper_unmap(mapper_of(link), page, 1) != 0)
            return false;
    folio->flags &= (uint8_t)~QY_FOLIO_MAPPED;
    return true;
}

int qy_file_write_protect(struct qy_file *file, uint32_t page, uint64_t count)
{
    int code = 0;
    qy_list_for_each (link, &file->mappers)
        if (qy_mapper_protect(mapper_of(link), page, count) != 0)
            code = -QY_ENOMEM;
    return code;
}
