/*
 * port.h - what the core asks of the world it runs in, where that is worth a call
 *
 * Linked, and the same for every port: the first half of <quarry_port.h>, which goes on with
 * the constants and inlines of its world. When each is called, and under which locks, stands in
 * docs/PORTING.md.
 */
#ifndef QY_BASE_PORT_H
#define QY_BASE_PORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qy_mm;
struct qy_cpu;
struct qy_space;

/** The program cannot go on. The report was written already. */
_Noreturn void qy_port_panic(const char *why);
/** One line of text to whoever reads reports. */
void qy_port_write(const char *text, size_t bytes);

/** Make [address, address + bytes) usable memory that reads as zero; whole pages.
 *  0, -ENOMEM (there is none), -EEXIST (the range belongs to somebody else). */
int qy_port_commit(struct qy_mm *mm, void *address, size_t bytes);
/** Give the memory behind the range back; it stays usable and reads as zero. 0 or -errno:
 *  then its content is unchanged. */
int qy_port_decommit(struct qy_mm *mm, void *address, size_t bytes);
/** Make a range of usable memory read as zero, in whichever way is cheaper: whole pages. */
void qy_port_clear(struct qy_mm *mm, void *address, size_t bytes);
/** This memory cannot be made after all: what was committed for it goes, itself last. Nobody else
 *  knows it. */
void qy_port_abandon(struct qy_mm *mm);
/** Put the range out of everybody's reach, or back into it: an access to it stops the program.
 *  Whole pages that were committed; what they hold is kept. 0 or -errno: then nothing has
 *  changed, or only that what was in reach still is. */
int qy_port_protect(struct qy_mm *mm, void *address, size_t bytes, bool accessible);
/** Advice: all of the range is about to be written. */
void qy_port_populate(struct qy_mm *mm, void *address, size_t bytes);
/** The same, of part of the aligned 2 MiB at @block, all of which will be written before long: one
 *  huge page may bring the memory of all. True: it did; false: none of it, or only part. */
bool qy_port_populate_huge(struct qy_mm *mm, void *block, void *address, size_t bytes);
/** Whether the page at @address has memory, or just reads as zero: *@backed. Returns how many from
 *  it on are like it, at most @pages. A port that cannot tell says that all have. */
uint64_t qy_port_look(struct qy_mm *mm, void *address, uint64_t pages, bool *backed);
/** Move the memory at @from to @to: same bytes, whole pages; @to was committed and its content
 *  is lost; @from stays usable and reads as zero. 0, or -errno: then @from has its content still,
 *  and @to may have lost it. */
int qy_port_move(struct qy_mm *mm, void *from, void *to, size_t bytes);
/** Copy pages, which do not overlap. They will hardly be read soon. */
void qy_port_copy_pages(struct qy_mm *mm, void *to, const void *from, uint64_t count);
/** Clear pages of a space, by writing. */
void qy_port_clear_pages(struct qy_mm *mm, void *to, uint64_t count);

/** Find @bytes of addresses (whole 2 MiB, so aligned) for a space: an access there leads to
 *  qy_space_fault(). 0, -ENOMEM (there are none), -ENOTSUP (frames cannot be mapped elsewhere). */
int qy_port_window_open(struct qy_mm *mm, struct qy_space *space, uint64_t bytes, void **start);
void qy_port_window_close(struct qy_mm *mm, void *start, uint64_t bytes);
/** Mappings that spaces may have, together with all whom the host counts with this memory's: pages
 *  in a row on frames in a row are one, and a gap between them is one. UINT64_MAX: any number. */
uint64_t qy_port_window_most(struct qy_mm *mm);
/** Where theirs are counted: the core's to change. */
_Atomic uint64_t *qy_port_window_count(struct qy_mm *mm);
/** The pages from @address on are these frames from now on, whatever they were before, in one
 *  step; @prot: QY_PROT_*. @written: the core has just written all of these frames, and will hardly
 *  touch them now. 0, or -ENOMEM and nothing changed; -EFAULT: they are none. */
int qy_port_window_map(struct qy_mm *mm, void *address, uint64_t pfn, uint64_t count, uint32_t prot,
                       bool written);
/** Advice: these pages, which are those frames and may be written, are the core's to touch next.
 *  They stay what they are. */
void qy_port_window_recall(struct qy_mm *mm, void *address, uint64_t pfn, uint64_t count);
/** They are none. 0, or -ENOMEM: some of them, perhaps. */
int qy_port_window_unmap(struct qy_mm *mm, void *address, uint64_t count);
/** What may be done with pages that are mapped. When it returns no thread writes any more to what
 *  may not be written. 0, or -ENOMEM: it goes for some of them, perhaps. */
int qy_port_window_protect(struct qy_mm *mm, void *address, uint64_t count, uint32_t prot);

/** Every other thread's loads and stores before and after this call are ordered by it. */
void qy_port_heavy_barrier(void);

/** Monotonic nanoseconds, may be as coarse as some milliseconds. */
uint64_t qy_port_clock_ns(void);
/** The same, exact: for deadlines and for how long something took. */
uint64_t qy_port_clock_exact_ns(void);

/** A number for whoever is calling, not 0, as a report may name it. */
uint32_t qy_port_thread(void);

/** Sleep while *word == value; may return early. Wake all who sleep on it. */
void qy_port_sleep(_Atomic uint32_t *word, uint32_t value);
void qy_port_wake(_Atomic uint32_t *word);

/** Let other threads run: somebody inside a short section must come out of it. */
void qy_port_yield(void);
/** Let about so long pass, asleep; may return early. */
void qy_port_nap(uint64_t ns);

/** Give this thread a slot of @mm if it can have one: calls qy_cpu_attach(), and sees to it
 *  that qy_cpu_detach() is called before the thread is gone. NULL: serve without one. */
struct qy_cpu *qy_port_attach(struct qy_mm *mm);

/** Debug builds: this thread's set of held lock ranks. */
uint32_t *qy_port_held_ranks(void);

#endif
