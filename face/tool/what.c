/*
 * what.c - the things that `quarry show` knows
 */
#include "tool.h"

#include <string.h>

const struct what whats[] = {
    {"buddyinfo", {"buddyinfo"}, qy_show_buddyinfo, "free blocks by order, a line a zone"},
    {"pagetypeinfo", {"pagetypeinfo"}, qy_show_pagetypeinfo, "the same by migratetype"},
    {"slabinfo", {"slabinfo"}, qy_show_slabinfo, "object caches"},
    {"zoneinfo", {"zoneinfo"}, qy_show_zoneinfo, "zones: frames, watermarks, per-CPU lists"},
    {"meminfo", {"meminfo"}, qy_show_meminfo, "the memory in kB"},
    {"vmstat", {"vmstat"}, qy_show_vmstat, "counters of events"},
    {"cma", {NULL}, qy_show_cma, "contiguous regions, and what of them is lent out"},
    {"sysrq", {"zoneinfo", "buddyinfo"}, qy_show_sysrq_m, "what SysRq-m prints"},
};
const size_t nr_whats = sizeof(whats) / sizeof(whats[0]);

const struct what *what_find(const char *name)
{
    for (size_t w = 0; w < nr_whats; w++)
        if (strcmp(name, whats[w].name) == 0)
            return &whats[w];
    return NULL;
}
