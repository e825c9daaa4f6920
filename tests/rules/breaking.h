/*
 * breaking.h - what the tests share that break a rule on purpose
 *
 * Each case writes one wrong thing into a sound memory, expects the rule's name, and nothing
 * once it is undone.
 */
#ifndef QUARRY_TESTS_BREAKING_H
#define QUARRY_TESTS_BREAKING_H

#include "support.h"

#include "buddy/pcp.h"
#include "memory/mm.h"
#include "memory/pageblock.h"
#include "slab/kept.h"
#include "slab/magazine.h"

#include <quarry/buddy.h>
#include <quarry/slab.h>
#include <quarry/view.h>

/** The rules are broken, and this one is among them. */
static inline void expect_broken(struct qy_mm *mm, const char *rule)
{
    static char buffer[1 << 16];
    struct qy_text text = {.buffer = buffer, .bytes = sizeof(buffer)};
    char wanted[8];

    snprintf(wanted, sizeof(wanted), "%s: ", rule);
    size_t broken = qy_check_rules(mm, &text);
    if (broken == 0)
        test_fail("%s is broken and nothing says so", rule);
    for (const char *line = buffer; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, wanted, strlen(wanted)) == 0)
            return;
    test_fail("%s is broken, but what is said is:\n%s", rule, buffer);
}

/** Write @wrong into @place, expect the rule's name, write back what was there. */
#define BREAK(mm, rule, place, wrong)                                                              \
    do {                                                                                           \
        __auto_type was = (place);                                                                 \
        test_rules(mm);                                                                            \
        (place) = (wrong);                                                                         \
        expect_broken(mm, rule);                                                                   \
        (place) = was;                                                                             \
        test_rules(mm);                                                                            \
    } while (0)

static inline struct qy_zone *zone_of_name(struct qy_mm *mm, const char *name)
{
    for (unsigned z = 0; z < QY_MAX_ZONES; z++)
        if (qy_zone_populated(&mm->zones[z]) && strcmp(mm->zones[z].name, name) == 0)
            return &mm->zones[z];
    test_fail("no zone is called %s", name);
}

/** The only slot there is. */
static inline struct qy_cpu *the_slot(struct qy_mm *mm)
{
    if (qy_list_empty(&mm->cpus))
        test_fail("this thread has no slot");
    return qy_list_entry(mm->cpus.next, struct qy_cpu, link);
}

#endif
