/*
 * linux.h - what the files of this port share, and what the malloc face needs of them
 */
#ifndef QY_PORT_LINUX_H
#define QY_PORT_LINUX_H

#include "base/percpu.h"

#include <quarry/linux.h>

/** Instances of one process whose threads can have slots; further ones do without. */
#define QY_LINUX_INSTANCES (QY_LINUX_PLACES - 1)

/** A window of addresses: [start, start + bytes). */
struct qy_linux_window {
    char *start;
    size_t bytes;
};

/** As qy_linux_mm_create(), for who never lends frames: malloc is not linked with what moves
 *  them. */
struct qy_mm *qy_linux_heap_create(const struct qy_linux_options *options, struct qy_error *error);

/** A range that nobody uses, as far as the windows there are and a look at both ends tell. 0, or
 *  -ENOMEM: none was found. */
int qy_linux_window_find(struct qy_linux_window *window, size_t bytes);
/** Reserve @bytes, or as many as there are but at least @least: mapped without access, where the
 *  system has no addresses that can be left to chance. 0 or -ENOMEM. */
int qy_linux_window_reserve(struct qy_linux_window *window, size_t bytes, size_t least);
/** It is nobody's any more. What is mapped there goes, if it was reserved. */
void qy_linux_window_release(const struct qy_linux_window *window);
/** Does this address lie in a window that was reserved as a whole? */
bool qy_linux_window_is_reserved(const char *address);

/** The frames of [start, start + bytes) lie in a memfd from now on; before any is committed. 0 or
 *  -errno. */
int qy_linux_share(char *start, size_t bytes);
/** No more; nothing, if they did not. */
void qy_linux_unshare(const char *start);
/** The memfd in which the frame at this address lies, and where in it; -1: in none. */
int qy_linux_shared_fd(const void *address, uint64_t *offset);
/** Map the frames at these addresses, which are of a memfd, once more. 0 or -errno. */
int qy_linux_share_again(void *address, size_t bytes);
/** The entries of the host's tables for these frames go to a space's address, and so does the
 *  mapping. 0; -EOPNOTSUPP: nothing has changed; -ENOMEM: there may be nothing at @address any
 *  more. */
int qy_linux_tables_give(void *frames, void *address, size_t bytes);
/** Is there a page in the range that nothing is mapped at? */
bool qy_linux_has_hole(void *address, size_t bytes);
/** In the child of a fork: nothing that is shared with the parent may be reached. */
void qy_linux_unshare_child(void);

/** Frames of the memory in this window can be lent: a child of fork() may not use what is in it. */
void qy_linux_window_lends(const char *start);
/** In the child of a fork: all that there are now are the parent's. */
void qy_linux_inherit(void);
/** See that every child does so. Not for malloc's own, which may not allocate here: it calls
 *  qy_linux_inherit() itself. */
void qy_linux_watch_forks(void);

/** The space in whose window an address lies, or NULL. No lock. */
struct qy_space *qy_linux_space_at(const void *address);
/** vm.max_map_count as it is now. */
uint64_t qy_linux_most_mappings(void);
/** Given what a handler of SIGSEGV is given: true, if the access may be made again. */
typedef bool (*qy_linux_knows_t)(int signal, void *info, void *context);
enum qy_linux_access {
    QY_LINUX_READ,
    QY_LINUX_WRITE,
    QY_LINUX_OTHER /* not known, or neither */
};
/** What a handler of SIGSEGV can tell of the access by its context. */
enum qy_linux_access qy_linux_access_of(const void *context);
/** This processor says what it was. */
extern const bool qy_linux_faults_say_what;
/** Each fault is shown to this one from now on: there may be two. 0 or -errno. */
int qy_linux_ask_of_faults(qy_linux_knows_t knows);
/** Has the program a handler of SIGSEGV of its own? */
bool qy_linux_others_know(void);
/** See to it that SIGSEGV comes to qy_linux_fault_handler(). 0, or -ENOTSUP: this processor's
 *  faults do not say what they were. */
int qy_linux_catch_faults(void);

/** Number a new instance and remember its window; -1: no number is free. */
int qy_linux_slots_open(struct qy_mm *mm);
/** No thread has a slot of it any more, and its number is free again. */
void qy_linux_slots_close(struct qy_mm *mm);
/** Let slots of this instance lie in the threads' own storage. */
void qy_linux_slots_in(struct qy_mm *mm, struct qy_cpu *(*storage)(void));
/** In the child of a fork: only this thread is left. Slots of the others are emptied and
 *  closed. cpus_lock is held and all slots are stopped. */
void qy_linux_slots_after_fork(struct qy_mm *mm);

/** Register for membarrier(2), or find a substitute. */
void qy_linux_barrier_init(void);

#endif
