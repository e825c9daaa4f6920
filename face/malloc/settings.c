/*
 * settings.c - how a value of QUARRY_* is read
 *
 * WHAT    Values are read without what could allocate, or needs a C library that has started: the
 *         first malloc may come before that.
 *
 * RULES   none.
 *
 * LOCKS   none.
 *
 * COST    A pass over the value.
 */
#include "settings.h"

#include "view/lens.h"

#include <string.h>

/** A day. */
#define MOST_SAMPLE_MS UINT64_C(86400000)

/** Returns what stands behind the digits; NULL: there are none, or too many. */
static const char *read_digits(const char *value, uint64_t *number)
{
    const char *at = value;
    *number = 0;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(*at - '0'), number))
            return NULL;
    return at != value ? at : NULL;
}

/** The same with a unit, if there is one. */
static const char *read_bytes(const char *value, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    const char *end = read_digits(value, bytes);
    const char *unit = end != NULL ? strchr(units, *end & ~0x20) : NULL;
    if (unit == NULL || *unit == '\0')
        return end;
    unsigned shift = 10 * (unsigned)(unit - units + 1);
    bool fits = *bytes <= UINT64_MAX >> shift;
    *bytes <<= shift;
    return fits ? end + 1 : NULL;
}

bool qy_setting_bytes(const char *value, uint64_t *bytes)
{
    const char *end = read_bytes(value, bytes);
    return end != NULL && *end == '\0';
}

bool qy_setting_switch(const char *value, uint64_t *on)
{
    *on = *value == '1';
    return (*value == '0' || *value == '1') && value[1] == '\0';
}

bool qy_setting_interval(const char *value, uint64_t *ms)
{
    const char *end = read_digits(value, ms);
    if (strcmp(value, "all") == 0) {
        *ms = QY_SAMPLE_ALL;
        return true;
    }
    return end != NULL && *end == '\0' && *ms <= MOST_SAMPLE_MS &&
           (*ms > 0 || strcmp(value, "0") == 0);
}

bool qy_setting_region(const char *value, uint64_t *bytes, enum qy_cma_policy *policy)
{
    const char *end = read_bytes(value, bytes);
    *policy = QY_CMA_LINUX;
    if (end == NULL || *end != ',')
        return end != NULL && *end == '\0';
    for (unsigned i = QY_CMA_LINUX; i <= QY_CMA_GUARANTEED; i++)
        if (strcmp(end + 1, qy_policy_name(i)) == 0) {
            *policy = (enum qy_cma_policy)i;
            return true;
        }
    return false;
}
