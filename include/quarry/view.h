/*
 * quarry/view.h - looking at a struct qy_mm, never touching it
 *
 * The formats are those of Linux's /proc files, to the letter, so that slabtop, exporters
 * and people's scripts read them. Figures are read while other threads go on: each is true,
 * their sum may be off by what happened meanwhile.
 */
#ifndef QUARRY_VIEW_H
#define QUARRY_VIEW_H

#include <quarry/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Text goes into a buffer; what does not fit is cut, and length still counts it. */
struct qy_text {
    char *buffer;
    size_t bytes;  /* of buffer, the final NUL included */
    size_t length; /* of the whole text, without the NUL */
};

QY_API void qy_print_buddyinfo(struct qy_mm *mm, struct qy_text *text);
QY_API void qy_print_pagetypeinfo(struct qy_mm *mm, struct qy_text *text);
QY_API void qy_print_zoneinfo(struct qy_mm *mm, struct qy_text *text);
QY_API void qy_print_meminfo(struct qy_mm *mm, struct qy_text *text);
QY_API void qy_print_vmstat(struct qy_mm *mm, struct qy_text *text);
QY_API void qy_print_slabinfo(struct qy_mm *mm, struct qy_text *text);
/** What SysRq-m prints: one line a zone with watermarks, then its free blocks by order. */
QY_API void qy_print_sysrq_m(struct qy_mm *mm, struct qy_text *text);
/** Contiguous regions (cma.h), one a column: the files of Linux's /sys/kernel/mm/cma/NAME by their
 *  names, policy, what is out, lent and free, what requests cost. Nothing if there is none. */
QY_API void qy_print_cma(struct qy_mm *mm, struct qy_text *text);

/**
 * Check every rule of every layer. Returns the number of broken ones; each is written to
 * *text (may be NULL) as "RULE: what is wrong". Waits for other threads' critical sections;
 * exact only while no other thread uses the memory.
 */
QY_API QY_MUST_CHECK size_t qy_check_rules(struct qy_mm *mm, struct qy_text *text);

#ifdef __cplusplus
}
#endif
#endif
