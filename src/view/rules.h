/*
 * rules.h - what the checks of the layers share
 */
#ifndef QY_VIEW_RULES_H
#define QY_VIEW_RULES_H

#include "memory/mm.h"

#include <quarry/view.h>

/** One run of qy_check_rules(). */
struct qy_ruling {
    struct qy_mm *mm;
    struct qy_text *text; /* may be NULL */
    size_t broken;
};

/** "RULE: kind number: what" */
void qy_broken(struct qy_ruling *ruling, const char *rule, const char *kind, uint64_t number,
               const char *what);
/** "RULE: kind name: what" */
void qy_broken_name(struct qy_ruling *ruling, const char *rule, const char *kind, const char *name,
                    const char *what);

/* Each checks one layer; all slots are stopped. */
void qy_check_buddy(struct qy_ruling *ruling);
void qy_check_tags(struct qy_ruling *ruling);
void qy_check_folios(struct qy_ruling *ruling);
void qy_check_regions(struct qy_ruling *ruling);
void qy_check_spaces(struct qy_ruling *ruling);
void qy_check_cache(struct qy_ruling *ruling);
void qy_check_pcp(struct qy_ruling *ruling);
void qy_check_kept(struct qy_ruling *ruling);
void qy_check_slab(struct qy_ruling *ruling);
void qy_check_magazines(struct qy_ruling *ruling);
void qy_check_checked(struct qy_ruling *ruling);
void qy_check_guarded(struct qy_ruling *ruling);

/** A frame of the span whose pageblock is online. */
bool qy_frame_is_online(const struct qy_mm *mm, uint64_t frame);

/** All pageblocks that zones reach to: one past the last. Metadata reaches no further. */
uint32_t qy_last_block(const struct qy_mm *mm);

#endif
