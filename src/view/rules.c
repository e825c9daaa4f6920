/*
 * rules.c - every rule that the layers name, checked
 *
 * WHAT    Each source of the core says in its RULES what must hold when nobody is inside.
 *         Here it is looked at: memory and zones and slots in this file, frames in
 *         rules_buddy.c, objects in rules_slab.c and rules_checked.c. A broken rule becomes a line
 *
 *         B6: pageblock 4096: its order is not that of its bits
 *
 *         What only a moment can break (F1..F3, L1, L3, A1, O2, M2, S6, K5) is looked at when it
 *         happens: by an assertion, by the call itself, or by a test.
 *
 * RULES   none of its own. It changes nothing.
 *
 * LOCKS   cpus_lock throughout, with all slots stopped; grow_lock, chain_lock, each
 *         cache->lock and each zone->lock in turn.
 *
 * COST    Everything is looked at: a byte and two bits for each frame that is online.
 */
#include "view/rules.h"
#include "base/text.h"
#include "buddy/pcp.h"
#include "memory/pageblock.h"

/* ---- saying it ---- */

static void begin(struct qy_ruling *ruling, const char *rule, const char *kind)
{
    ruling->broken++;
    if (ruling->text == NULL)
        return;
    qy_text_string(ruling->text, rule);
    qy_text_string(ruling->text, ": ");
    qy_text_string(ruling->text, kind);
    qy_text_char(ruling->text, ' ');
}

static void end(struct qy_ruling *ruling, const char *what)
{
    qy_text_string(ruling->text, ": ");
    qy_text_string(ruling->text, what);
    qy_text_char(ruling->text, '\n');
}

void qy_broken(struct qy_ruling *ruling, const char *rule, const char *kind, uint64_t number,
               const char *what)
{
    begin(ruling, rule, kind);
    if (ruling->text == NULL)
        return;
    qy_text_u64(ruling->text, number);
    end(ruling, what);
}

void qy_broken_name(struct qy_ruling *ruling, const char *rule, const char *kind, const char *name,
                    const char *what)
{
    begin(ruling, rule, kind);
    if (ruling->text == NULL)
        return;
    qy_text_string(ruling->text, name);
    end(ruling, what);
}

/* ---- which frames there are ---- */

uint32_t qy_last_block(const struct qy_mm *mm)
{
    qy_pfn_t end = mm->start_pfn;
    for (size_t z = 0; z < QY_MAX_ZONES; z++)
        if (qy_zone_populated(&mm->zones[z]) && mm->zones[z].end_pfn > end)
            end = mm->zones[z].end_pfn;
    uint64_t frames = end - mm->start_pfn;
    frames = frames < mm->nr_frames ? frames : mm->nr_frames;
    return (uint32_t)((frames + QY_PAGEBLOCK_FRAMES - 1) / QY_PAGEBLOCK_FRAMES);
}

bool qy_frame_is_online(const struct qy_mm *mm, uint64_t frame)
{
    return frame < (uint64_t)qy_last_block(mm) * QY_PAGEBLOCK_FRAMES &&
           (mm->blocks[frame / QY_PAGEBLOCK_FRAMES].flags & QY_BLOCK_ONLINE);
}

/* ---- memory ---- */

static void check_spans(struct qy_ruling *ruling)
{
    const struct qy_mm *mm = ruling->mm;
    qy_pfn_t start = mm->start_pfn, end = start + mm->nr_frames;
    if (!qy_spans_are_sound(mm->hotplug, mm->nr_hotplug, start, end))
        qy_broken(ruling, "M1", "hotplug ranges:", mm->nr_hotplug, "not in order within the span");
    if (!qy_spans_are_sound(mm->reserved, mm->nr_reserved, start, end))
        qy_broken(ruling, "M1", "reserved ranges:", mm->nr_reserved,
                  "not in order within the span");
}

static void check_away(struct qy_ruling *ruling)
{
    struct qy_mm *mm = ruling->mm;
    qy_lock(&mm->grow_lock);
    if (mm->nr_away != 0)
        qy_broken(ruling, "R1", "frames:", mm->nr_away, "away, and nobody trims or feeds");
    qy_unlock(&mm->grow_lock);
}

static void check_memory(struct qy_ruling *ruling)
{
    const struct qy_mm *mm = ruling->mm;
    static const size_t bytes_of_block[QY_NR_META] = {
        [QY_META_BLOCKS] = QY_PAGEBLOCK_BYTES,
        [QY_META_FREE_BITS] = sizeof(struct qy_bits512),
        [QY_META_FRESH_BITS] = sizeof(struct qy_bits512),
        [QY_META_TAGS] = QY_PAGEBLOCK_FRAMES,
        [QY_META_PAGES] = QY_PAGEBLOCK_FRAMES * sizeof(struct qy_page),
    };
    size_t blocks = qy_last_block(mm);
    for (unsigned array = QY_META_BLOCKS; array < QY_NR_META; array++)
        if (mm->options.meta_lazy && mm->meta[array].committed < blocks * bytes_of_block[array])
            qy_broken(ruling, "M3", "metadata array", array, "online frames are not committed");
    uint64_t charged = atomic_load_explicit(&mm->charged, memory_order_relaxed);
    if (mm->options.limit_pages != 0 && charged > mm->options.limit_pages)
        qy_broken(ruling, "M4", "charged pages", charged, "more than the limit");
}

/* ---- zones ---- */

static void check_pageblocks_of(struct qy_ruling *ruling, uint64_t online[QY_MAX_ZONES])
{
    const struct qy_mm *mm = ruling->mm;
    for (uint32_t b = 0; b < qy_last_block(mm); b++) {
        const struct qy_pageblock *block = &mm->blocks[b];
        qy_pfn_t pfn = qy_block_pfn(mm, b);
        if (!(block->flags & QY_BLOCK_ONLINE))
            continue;
        if (block->zone >= QY_MAX_ZONES || !qy_zone_populated(&mm->zones[block->zone]) ||
            pfn + QY_PAGEBLOCK_FRAMES <= mm->zones[block->zone].start_pfn ||
            pfn >= mm->zones[block->zone].end_pfn)
            qy_broken(ruling, "Z3", "pageblock", pfn, "lies outside its zone");
        else
            online[block->zone] += QY_PAGEBLOCK_FRAMES;
    }
}

static void check_zones(struct qy_ruling *ruling)
{
    const struct qy_mm *mm = ruling->mm;
    uint64_t online[QY_MAX_ZONES] = {0};
    check_pageblocks_of(ruling, online);
    for (size_t z = 0; z < QY_MAX_ZONES; z++) {
        const struct qy_zone *zone = &mm->zones[z];
        uint64_t spanned = zone->end_pfn - zone->start_pfn;
        if (zone->managed > zone->present || zone->present > spanned)
            qy_broken(ruling, "Z1", "zone", z, "managed <= present <= spanned does not hold");
        if (zone->watermark[QY_WMARK_MIN] > zone->watermark[QY_WMARK_LOW] ||
            zone->watermark[QY_WMARK_LOW] > zone->watermark[QY_WMARK_HIGH])
            qy_broken(ruling, "Z2", "zone", z, "min <= low <= high does not hold");
        if (zone->managed > online[z])
            qy_broken(ruling, "O1", "zone", z, "manages more frames than came online");
    }
}

/* ---- slots ---- */

static void check_cpus(struct qy_ruling *ruling)
{
    struct qy_mm *mm = ruling->mm;
    uint64_t number = 0;
    qy_list_for_each (link, &mm->cpus) {
        const struct qy_cpu *cpu = qy_list_entry(link, struct qy_cpu, link);
        bool no_frames = atomic_load_explicit(&cpu->nr_frames, memory_order_relaxed) == 0;
        bool no_bytes = atomic_load_explicit(&cpu->small_bytes, memory_order_relaxed) == 0;
        bool stopped = atomic_load_explicit(&cpu->stop, memory_order_relaxed) != 0;
        bool none_ready = atomic_load_explicit(&cpu->ready_bytes, memory_order_relaxed) == 0;
        if (no_frames != stopped || no_bytes != (stopped || mm->small_bytes == 0) ||
            none_ready != (no_bytes || cpu->led_astray))
            qy_broken(ruling, "C2", "slot", number, "its limits and its stop mark contradict");
        number++;
    }
}

/** What the owners alone may change, folded into one number. */
static uint64_t fold_slots(const struct qy_mm *mm)
{
    uint64_t sum = 0;
    qy_list_for_each (link, &mm->cpus) {
        const struct qy_cpu *cpu = qy_list_entry(link, struct qy_cpu, link);
        for (unsigned tag = 0; tag < QY_NR_TAGS; tag++)
            sum = sum * 31 + (uintptr_t)__atomic_load_n(&cpu->top[tag], __ATOMIC_RELAXED);
        for (unsigned z = 0; cpu->pcp != NULL && z < mm->nr_pcp; z++)
            sum = sum * 31 + qy_pcp_count(&cpu->pcp[z]);
    }
    return sum;
}

size_t qy_check_rules(struct qy_mm *mm, struct qy_text *text)
{
    struct qy_ruling ruling = {.mm = mm, .text = text};
    qy_lock(&mm->cpus_lock);
    check_cpus(&ruling);
    qy_cpus_stop(&mm->cpus);
    uint64_t before = fold_slots(mm);
    check_spans(&ruling);
    check_away(&ruling);
    check_memory(&ruling);
    check_zones(&ruling);
    qy_check_buddy(&ruling);
    qy_check_tags(&ruling);
    qy_check_folios(&ruling);
    qy_check_spaces(&ruling);
    qy_check_cache(&ruling);
    qy_check_pcp(&ruling);
    qy_check_kept(&ruling);
    qy_lock(&mm->chain_lock);
    qy_check_regions(&ruling);
    qy_check_slab(&ruling);
    qy_check_magazines(&ruling);
    qy_check_checked(&ruling);
    qy_check_guarded(&ruling);
    qy_unlock(&mm->chain_lock);
    if (fold_slots(mm) != before)
        qy_broken(&ruling, "C1", "slots", mm->nr_cpus, "one changed while it was stopped");
    qy_slots_resume(mm);
    return ruling.broken;
}
