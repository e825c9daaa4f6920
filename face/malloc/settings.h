/*
 * settings.h - what QUARRY_* may be set to: for malloc, which reads it at its first call, and for
 *              `quarry run`, whose program may never make one
 */
#ifndef QUARRY_MALLOC_SETTINGS_H
#define QUARRY_MALLOC_SETTINGS_H

#include <quarry/cma.h>
#include <quarry/types.h>

#define QY_EXPECTED_BYTES "a number of bytes, such as 65536, 512M or 2G"
#define QY_EXPECTED_SWITCH "0 or 1"
#define QY_EXPECTED_INTERVAL "milliseconds between two samples, such as 100, or all"
#define QY_EXPECTED_REGION "a size, such as 64M or 64M,eager (linux, eager, guaranteed)"

/** What "all" is, in milliseconds between two samples. */
#define QY_SAMPLE_ALL UINT64_MAX

/* Each reads a value that is not empty. False: it is not what is expected, and what the number is
 * then means nothing. */

/** A number, or one with K, M, G or T. */
QY_MUST_CHECK bool qy_setting_bytes(const char *value, uint64_t *bytes);
/** 0 or 1. */
QY_MUST_CHECK bool qy_setting_switch(const char *value, uint64_t *on);
/** 0 (off), as many milliseconds as a day has at most, or QY_SAMPLE_ALL. */
QY_MUST_CHECK bool qy_setting_interval(const char *value, uint64_t *ms);
/** SIZE[,POLICY]. */
QY_MUST_CHECK bool qy_setting_region(const char *value, uint64_t *bytes,
                                     enum qy_cma_policy *policy);

#endif
