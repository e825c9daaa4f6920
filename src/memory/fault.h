/*
 * fault.h - telling what somebody did wrong, by the rule's name
 *
 * One line, always of this form, the parenthesis where it is known:
 *
 *   quarry: double free of 0x7f3210004040 (cache kmalloc-64, object 0x7f3210004040+64): rule S3
 */
#ifndef QY_MEMORY_FAULT_H
#define QY_MEMORY_FAULT_H

#include <quarry/types.h>

/** What was done with an address. */
enum qy_act {
    QY_ACT_FREE,
    QY_ACT_QUERY, /* its size was asked for */
    QY_ACT_REALLOC,
    QY_NR_ACTS
};

struct qy_fault {
    const char *what;  /* "double free", "interior free", "foreign free", "wrong size free" … */
    const char *rule;  /* "S3" */
    uint64_t address;  /* what was handed in */
    const char *unit;  /* where that is a number: "frame", "page" of a file; NULL: an address */
    const char *cache; /* NULL: not known, and the next two are meaningless */
    uint64_t object;
    size_t object_bytes;
    uint32_t allocated_by, freed_by; /* threads, by the port's numbers; 0: not known */
    const char *note;                /* more, at the end of the line; NULL: none */
    bool ends_anyway;                /* what was done ends the program: no need to panic */
};

/** Report it, remember it as the instance's last, and panic if it is set to. -EINVAL. */
int qy_fault_report(struct qy_mm *mm, const struct qy_fault *fault);

/** Of calls that qy_port_inherited() refuses. */
#define QY_INHERITED "a child of fork() has none of its parent's files, spaces and regions"

/** Fill in an error, which may be NULL: message, number unless it is UINT64_MAX, rest.
 *  Returns code. */
int qy_error_set(struct qy_error *error, int code, const char *message, uint64_t number,
                 const char *rest);

/** The same, for who returns a pointer: NULL. */
static inline void *qy_refused(struct qy_error *error, int code, const char *message,
                               uint64_t number)
{
    qy_error_set(error, code, message, number, "");
    return NULL;
}

#endif
