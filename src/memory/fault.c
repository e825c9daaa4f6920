/*
 * fault.c - one line for each wrong call
 *
 * WHAT    The line is built on the stack and handed to the port whole, so that two threads'
 *         lines do not mix and nothing is allocated where memory may be corrupt.
 *
 * RULES   none of its own: it names those of others.
 *
 * LOCKS   none: last_fault is a plain store of a string constant.
 *
 * COST    Cold.
 */
#include "memory/fault.h"

#include "base/errno.h"
#include "base/text.h"
#include "memory/mm.h"

static void say_thread(struct qy_text *text, const char *what, uint32_t thread)
{
    if (thread == 0)
        return;
    qy_text_string(text, what);
    qy_text_u64(text, thread);
}

int qy_fault_report(struct qy_mm *mm, const struct qy_fault *fault)
{
    char line[320];
    struct qy_text text;
    qy_text_init(&text, line, sizeof(line));
    qy_text_string(&text, "quarry: ");
    qy_text_string(&text, fault->what);
    qy_text_string(&text, " of ");
    if (fault->unit != NULL) {
        qy_text_string(&text, fault->unit);
        qy_text_char(&text, ' ');
    }
    qy_text_hex(&text, fault->address, 1);
    if (fault->cache != NULL) {
        qy_text_string(&text, " (cache ");
        qy_text_string(&text, fault->cache);
        qy_text_string(&text, ", object ");
        qy_text_hex(&text, fault->object, 1);
        qy_text_char(&text, '+');
        qy_text_u64(&text, fault->object_bytes);
        qy_text_char(&text, ')');
    }
    qy_text_string(&text, ": rule ");
    qy_text_string(&text, fault->rule);
    say_thread(&text, ", allocated by thread ", fault->allocated_by);
    say_thread(&text, ", last freed by thread ", fault->freed_by);
    if (fault->note != NULL) {
        qy_text_string(&text, ", ");
        qy_text_string(&text, fault->note);
    }
    qy_text_char(&text, '\n');
    qy_text_report(&text);
    __atomic_store_n(&mm->last_fault, fault->rule, __ATOMIC_RELAXED);
    atomic_fetch_add_explicit(&mm->nr_faults, 1, memory_order_relaxed);
    if (mm->panic_on_fault && !fault->ends_anyway)
        qy_port_panic(NULL);
    return -QY_EINVAL;
}

int qy_error_set(struct qy_error *error, int code, const char *message, uint64_t number,
                 const char *rest)
{
    if (error == NULL)
        return code;
    struct qy_text text;
    qy_text_init(&text, error->text, sizeof(error->text));
    qy_text_string(&text, message);
    if (number != UINT64_MAX)
        qy_text_u64(&text, number);
    qy_text_string(&text, rest);
    error->code = code;
    return code;
}
