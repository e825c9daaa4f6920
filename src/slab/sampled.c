/*
 * sampled.c - blocks with a page of their own between guards
 *
 * WHAT    A pool of pages, of which every second one is out of reach. A block lies at its page's
 *         left or right end, by chance; the rest of the page is red. So what runs over the end
 *         that it lies at is stopped at the access, and what is written beyond the other is
 *         seen in the free. A freed block's page is out of reach as well, until all others of
 *         the pool have been used (GWP-ASan; Linux's KFENCE, mm/kfence).
 *
 *           | guard | block : red | guard | red : block | guard | freed | guard |  ...
 *                     a slab's two pages    the next's
 *
 *         A page and the guard behind it are a slab of one object, of a cache on the chain. So
 *         its tag is one that no slot has a magazine for, and the free of such a block leaves the
 *         fast path by the comparison that finds full magazines. Pages of freed blocks have no
 *         memory where the port gives that lazily.
 *
 * RULES   D1, D2  in slab/checked.c: the red bytes beside a live block are whole; a freed one is
 *             not touched.
 *         D6  A live block of the pool lies within its page and is aligned, its note says what
 *             was asked for; nr_live are live, and never more were made than there is room for.
 *         Checked by check_sampled() in view/rules_checked.c, D1 also at each free.
 *
 * LOCKS   (c) cache->lock for slots, red bytes and reach, across the port's calls. Who allocates
 *         does not wait for it; who explains an access takes none.
 *
 * COST    Five system calls, two of which ask who the thread is, and a fault or two for a block and
 *         its free.
 */
#include "slab/sampled.h"

#include "base/text.h"
#include "slab/kmalloc.h"

#define MIN_ALIGN 16

static uint64_t figure(const _Atomic uint64_t *figure)
{
    return atomic_load_explicit(figure, memory_order_relaxed);
}

static void count(_Atomic uint64_t *figure, int by)
{
    atomic_fetch_add_explicit(figure, (uint64_t)by, memory_order_relaxed);
}

uint64_t qy_sampled_idle(const struct qy_mm *mm)
{
    uint64_t all = figure(&mm->sampling.nr_frames), live = figure(&mm->sampling.nr_live);
    return all > live ? all - live : 0;
}

uint64_t qy_sampled_untouched(const struct qy_mm *mm)
{
    uint64_t all = figure(&mm->sampling.nr_frames), made = 2 * figure(&mm->sampling.nr_made);
    return all > made ? all - made : 0;
}

/* ---- slots ---- */

static char *block_of(const struct qy_sample_slot *slot)
{
    return slot->slab.base + slot->offset;
}

static bool is_live(const struct qy_sample_slot *slot)
{
    return __atomic_load_n(&slot->note.bytes, __ATOMIC_ACQUIRE) != QY_OBJECT_FREED;
}

/** Of an address in frames of the pool; of its first guard the first one. */
static struct qy_sample_slot *slot_of(const struct qy_kmem_cache *cache, const void *address)
{
    struct qy_sample_pool *pool = cache->mm->sampling.pool;
    uint64_t index = qy_address_index(cache->mm, address);
    return &pool->slot[index < pool->first ? 0 : (index - pool->first) / 2];
}

/** One that was never used, at the front of those that are free. */
static void add_slot_locked(struct qy_kmem_cache *cache, struct qy_sample_pool *pool)
{
    struct qy_mm *mm = cache->mm;
    uint64_t made = figure(&mm->sampling.nr_made), index = pool->first + 2 * made;
    struct qy_sample_slot *slot = &pool->slot[made];
    *slot = (struct qy_sample_slot){
        .slab = {.cache = cache,
                 .base = (char *)(mm->base + (index << QY_PAGE_SHIFT)),
                 .notes = &slot->note,
                 .free.word[0] = 1,
                 .nr_free = 1,
                 .nr_objects = 1},
        .note = {.bytes = QY_OBJECT_FREED},
    };
    mm->pages[index].slab = &slot->slab;
    qy_tag_set(&mm->tags[index], cache->tag);
    qy_tag_set(&mm->tags[index + 1], cache->tag);
    qy_list_add(&cache->slabs_empty.slabs, &slot->slab.link);
    cache->slabs_empty.count++;
    cache->nr_free++;
    count(&mm->sampling.nr_made, 1);
}

/** To the end of the other list: who was freed first is used again first. */
static void move_locked(struct qy_sample_slot *slot, struct qy_slab_list *from,
                        struct qy_slab_list *to)
{
    qy_list_remove(&slot->slab.link);
    from->count--;
    qy_list_add_tail(&to->slabs, &slot->slab.link);
    to->count++;
}

static void paint(const struct qy_sample_slot *slot)
{
    __builtin_memset(slot->slab.base, QY_RED_BYTE, slot->offset);
    __builtin_memset(block_of(slot) + slot->bytes, QY_RED_BYTE,
                     QY_PAGE_BYTES - slot->offset - slot->bytes);
}

/** The first byte of the page that was written to outside of the block; NULL: none. */
static const char *damaged(const struct qy_sample_slot *slot)
{
    const char *block = block_of(slot), *page = slot->slab.base, *at = page;
    if (qy_bytes_are(page, slot->offset, QY_RED_BYTE) &&
        qy_bytes_are(block + slot->bytes, QY_PAGE_BYTES - slot->offset - slot->bytes, QY_RED_BYTE))
        return NULL;
    while (at == block || (unsigned char)*at == QY_RED_BYTE)
        at += at == block ? slot->bytes : 1;
    return at;
}

static void *hand_out_locked(struct qy_sample_slot *slot, size_t bytes, size_t align, qy_gfp_t gfp)
{
    struct qy_kmem_cache *cache = slot->slab.cache;
    struct qy_mm *mm = cache->mm;
    if (qy_port_protect(mm, slot->slab.base, QY_PAGE_BYTES, true) != 0)
        return NULL;
    slot->bytes = (uint32_t)bytes;
    slot->offset =
        qy_sample_draw(&mm->sampling) & 2 ? 0 : (uint32_t)((QY_PAGE_BYTES - bytes) & ~(align - 1));
    paint(slot);
    if (gfp & QY_GFP_ZERO)
        __builtin_memset(block_of(slot), 0, bytes);
    slot->note.allocated_by = qy_port_thread();
    slot->note.freed_by = 0;
    __atomic_store_n(&slot->note.bytes, (uint32_t)bytes, __ATOMIC_RELEASE);
    slot->slab.free.word[0] = 0;
    slot->slab.nr_free = 0;
    cache->nr_free--;
    move_locked(slot, &cache->slabs_empty, &cache->slabs_full);
    count(&mm->sampling.nr_live, 1);
    count(&mm->sampling.nr_allocs, 1);
    return block_of(slot);
}

static void put_away_locked(struct qy_sample_slot *slot)
{
    struct qy_kmem_cache *cache = slot->slab.cache;
    struct qy_mm *mm = cache->mm;
    slot->note.freed_by = qy_port_thread();
    __atomic_store_n(&slot->note.bytes, QY_OBJECT_FREED, __ATOMIC_RELEASE);
    if (mm->options.lazy_backing)
        (void)qy_port_decommit(mm, slot->slab.base, QY_PAGE_BYTES);
    (void)qy_port_protect(mm, slot->slab.base, QY_PAGE_BYTES, false); /* else it is not seen */
    slot->slab.free.word[0] = 1;
    slot->slab.nr_free = 1;
    cache->nr_free++;
    move_locked(slot, &cache->slabs_full, &cache->slabs_empty);
    count(&mm->sampling.nr_live, -1);
    count(&mm->sampling.nr_frees, 1);
}

void *qy_sampled_take(struct qy_mm *mm, struct qy_sample_pool *pool, size_t bytes, size_t align,
                      qy_gfp_t gfp)
{
    struct qy_kmem_cache *cache = mm->sampling.cache;
    size_t aligned = align < MIN_ALIGN ? MIN_ALIGN : align;
    void *block = NULL;
    if (!qy_trylock(&cache->lock))
        return NULL;
    if (figure(&mm->sampling.nr_made) < pool->nr_slots)
        add_slot_locked(cache, pool);
    struct qy_list *oldest = cache->slabs_empty.slabs.next;
    if (oldest != &cache->slabs_empty.slabs)
        block = hand_out_locked((void *)qy_list_entry(oldest, struct qy_slab, link), bytes, aligned,
                                gfp);
    if (block == NULL)
        count(&mm->sampling.nr_skipped, 1);
    qy_unlock(&cache->lock);
    return block;
}

/* ---- reports ---- */

struct complaint {
    struct qy_fault fault;
    char what[32], note[48];
};

/** "4 bytes right of the object" */
static void say_where(struct complaint *complaint, const struct qy_sample_slot *slot,
                      const char *address)
{
    struct qy_text text;
    const char *block = block_of(slot), *end = block + slot->bytes;
    bool left = address < block, right = address >= end;
    uint64_t distance = (uint64_t)(left    ? block - address
                                   : right ? address - end + 1
                                           : address - block);
    qy_text_init(&text, complaint->note, sizeof(complaint->note));
    qy_text_u64(&text, distance);
    qy_text_string(&text, distance == 1 ? " byte " : " bytes ");
    qy_text_string(&text, left ? "left of the object" : right ? "right of the object" : "into it");
    complaint->fault.note = complaint->note;
}

static void fill_in(struct qy_fault *fault, const struct qy_sample_slot *slot)
{
    fault->cache = qy_kmalloc_class_name(qy_kmalloc_class(slot->bytes));
    fault->object = (uintptr_t)block_of(slot);
    fault->object_bytes = slot->bytes;
    fault->allocated_by = slot->note.allocated_by;
    fault->freed_by = slot->note.freed_by;
}

static void complain(struct complaint *complaint, const struct qy_sample_slot *slot,
                     const void *address, const char *what, const char *rule)
{
    complaint->fault = (struct qy_fault){.what = what, .rule = rule, .address = (uintptr_t)address};
    fill_in(&complaint->fault, slot);
    say_where(complaint, slot, address);
}

/** Nothing is wrong with freeing this block, or the complaint is made. */
static bool is_right_locked(const struct qy_sample_slot *slot, const void *block,
                            struct complaint *complaint)
{
    const char *wrong = is_live(slot) && block == block_of(slot) ? damaged(slot) : NULL;
    if (!is_live(slot)) {
        complain(complaint, slot, block, "invalid free", "K3");
        complaint->fault.note = "it was freed before";
    } else if (block != block_of(slot)) {
        complain(complaint, slot, block, "invalid free", "K2");
    } else if (wrong != NULL) {
        complain(complaint, slot, wrong, "memory corruption", "D1");
    } else {
        return true;
    }
    return false;
}

int qy_sampled_free(struct qy_kmem_cache *cache, const void *block)
{
    struct qy_sample_slot *slot = slot_of(cache, block);
    struct complaint complaint;
    qy_lock(&cache->lock);
    bool right = is_right_locked(slot, block, &complaint);
    if (right)
        put_away_locked(slot);
    qy_unlock(&cache->lock);
    return right ? 0 : qy_fault_report(cache->mm, &complaint.fault);
}

int qy_sampled_refuse(struct qy_kmem_cache *cache, const void *block, enum qy_act act)
{
    struct qy_sample_slot *slot = slot_of(cache, block);
    struct complaint complaint;
    qy_lock(&cache->lock);
    if (is_right_locked(slot, block, &complaint))
        complain(&complaint, slot, block, "invalid free", "K3");
    qy_unlock(&cache->lock);
    if (act != QY_ACT_FREE)
        complaint.fault.what = act == QY_ACT_QUERY ? "invalid query" : "invalid realloc";
    return qy_fault_report(cache->mm, &complaint.fault);
}

void qy_sampled_fill_in(struct qy_fault *fault, const struct qy_kmem_cache *cache,
                        const void *block)
{
    fill_in(fault, slot_of(cache, block));
}

size_t qy_sampled_bytes(struct qy_kmem_cache *cache, const void *block)
{
    struct qy_sample_slot *slot = slot_of(cache, block);
    qy_lock(&cache->lock);
    size_t bytes = is_live(slot) && block == block_of(slot) ? slot->bytes : 0;
    qy_unlock(&cache->lock);
    return bytes;
}

/** The slot whose page, or guard behind it, this frame is; NULL: it was never used. */
static const struct qy_sample_slot *slot_at(const struct qy_mm *mm,
                                            const struct qy_sample_pool *pool, uint64_t index)
{
    uint64_t number = (index - pool->first) / 2;
    return index >= pool->first && number < figure(&mm->sampling.nr_made) ? &pool->slot[number]
                                                                          : NULL;
}

/** Of the live blocks on both sides of a guard the one that is nearer; NULL: there is none. */
QY_RACY static const struct qy_sample_slot *beside(const struct qy_mm *mm,
                                                   const struct qy_sample_pool *pool,
                                                   uint64_t guard, const char *address)
{
    const struct qy_sample_slot *left = slot_at(mm, pool, guard - 1),
                                *right = slot_at(mm, pool, guard + 1);
    if (left == NULL || !is_live(left))
        return right != NULL && is_live(right) ? right : NULL;
    if (right == NULL || !is_live(right))
        return left;
    return block_of(right) - address < address - block_of(left) - left->bytes ? right : left;
}

QY_RACY bool qy_sampled_explain(struct qy_mm *mm, const void *address, const char *access)
{
    struct qy_sample_pool *pool = atomic_load_explicit(&mm->sampling.pool, memory_order_acquire);
    uint64_t index = qy_address_index(mm, address);
    if (pool == NULL || index + 1 < pool->first ||
        index >= pool->first + 2 * (uint64_t)pool->nr_slots)
        return false;
    bool is_guard = (index - pool->first) & 1;
    const struct qy_sample_slot *slot =
        is_guard ? beside(mm, pool, index, address) : slot_at(mm, pool, index);
    if (!is_guard && slot != NULL && is_live(slot))
        return false;
    struct complaint complaint = {
        .fault = {.rule = "D1", .address = (uintptr_t)address, .note = "in no block's reach"}};
    struct qy_text text;
    if (slot != NULL)
        complain(&complaint, slot, address, NULL, is_guard ? "D1" : "D2");
    qy_text_init(&text, complaint.what, sizeof(complaint.what));
    qy_text_string(&text, slot == NULL ? "invalid "
                          : is_guard   ? "out-of-bounds "
                                       : "use-after-free ");
    qy_text_string(&text, access);
    complaint.fault.what = complaint.what;
    complaint.fault.ends_anyway = true;
    qy_fault_report(mm, &complaint.fault);
    return true;
}

/* ---- a look ---- */

const char *qy_sampled_look(const struct qy_slab *slab)
{
    const struct qy_sample_slot *slot = (const struct qy_sample_slot *)slab;
    if (slot->note.bytes != slot->bytes || slot->offset > QY_PAGE_BYTES ||
        slot->bytes > QY_PAGE_BYTES - slot->offset || slot->offset % MIN_ALIGN != 0)
        return "D6";
    return damaged(slot) == NULL ? NULL : "D1";
}
