/*
 * slots.c - a slot for each thread and instance
 *
 * WHAT    A thread's slots are found through a thread-local table. Their lists lie in pages
 *         of this file's own, which outlive the thread and go to the next one. A thread's
 *         end is noticed by a pthread key; what it allocates or frees after that goes
 *         without a slot.
 *
 * RULES   N1  A thread's table names a slot exactly while that slot is attached.
 *
 * LOCKS   blocks_lock for the free pages; a thread's table is its own, and that of a
 *         destroyed instance's slots nobody uses.
 *
 * COST    The first call of a thread: two locks and, if no pages are left over from another
 *         thread, an mmap.
 */
#define _GNU_SOURCE
#include "linux.h"

#include "memory/mm.h"
#include "slab/magazine.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

/** Pages for one slot: this header, a struct qy_cpu unless it lies elsewhere, the lists. */
struct block {
    struct block *next;   /* (b) free ones */
    struct qy_cpu *cpu;   /* (b) whose it is */
    struct qy_cpu **home; /* (b) the owner's place in its table */
    size_t bytes;         /* (b) */
    struct qy_mm *mm;     /* (b) whose emptied lists it holds; NULL: anything */
};

struct instance {
    struct qy_mm *mm;
    struct qy_cpu *(*storage)(void);
    struct block *blocks; /* (b) in use */
};

_Thread_local struct qy_cpu *qy_linux_cpus[QY_LINUX_PLACES];
static _Thread_local bool exiting;

static struct instance instances[QY_LINUX_INSTANCES];
static struct block *free_blocks;
static pthread_mutex_t blocks_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t key;
static bool have_key; /* since the first instance was opened */

/* ---- pages for slots ---- */

static struct block *new_block(struct qy_mm *mm, size_t bytes)
{
    int saved = errno;
    if (qy_mm_charge(mm, bytes >> QY_PAGE_SHIFT) != 0)
        return NULL;
    struct block *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    errno = saved;
    if (block == MAP_FAILED) {
        qy_mm_uncharge(mm, bytes >> QY_PAGE_SHIFT);
        return NULL;
    }
    block->bytes = bytes;
    atomic_fetch_add(&mm->meta_bytes, bytes);
    return block;
}

static struct block *get_block(struct qy_mm *mm, size_t bytes)
{
    struct block **link = &free_blocks;
    pthread_mutex_lock(&blocks_lock);
    while (*link != NULL && (*link)->bytes != bytes)
        link = &(*link)->next;
    struct block *block = *link;
    if (block != NULL)
        *link = block->next;
    pthread_mutex_unlock(&blocks_lock);
    if (block == NULL)
        return new_block(mm, bytes);
    if (block->mm != mm)
        *(struct block *)__builtin_memset(block, 0, bytes) = (struct block){.bytes = bytes};
    return block;
}

static void use_block(struct instance *instance, struct block *block)
{
    pthread_mutex_lock(&blocks_lock);
    block->next = instance->blocks;
    instance->blocks = block;
    pthread_mutex_unlock(&blocks_lock);
}

/** Take the block of a slot off its instance; it serves the next thread. @mm: the slot was
 *  detached from it, so the lists are empty; NULL: there may be anything. */
static void put_block(struct instance *instance, const struct qy_cpu *cpu, struct qy_mm *mm)
{
    pthread_mutex_lock(&blocks_lock);
    struct block **link = &instance->blocks;
    while (*link != NULL && (*link)->cpu != cpu)
        link = &(*link)->next;
    struct block *block = *link;
    if (block != NULL) {
        *link = block->next;
        block->next = free_blocks;
        block->mm = mm;
        free_blocks = block;
    }
    pthread_mutex_unlock(&blocks_lock);
}

/* ---- threads come and go ---- */

static void thread_exits(void *unused)
{
    (void)unused;
    exiting = true;
    for (unsigned i = 0; i < QY_LINUX_INSTANCES; i++) {
        struct qy_cpu *cpu = qy_linux_cpus[i];
        if (cpu == NULL)
            continue;
        qy_linux_cpus[i] = NULL;
        qy_cpu_detach(instances[i].mm, cpu);
        put_block(&instances[i], cpu, instances[i].mm);
    }
}

static size_t block_bytes(const struct qy_mm *mm, bool with_cpu)
{
    size_t bytes = 64 + (with_cpu ? sizeof(struct qy_cpu) + 64 : 0) + qy_cpu_bytes(mm);
    return (bytes + QY_PAGE_BYTES - 1) & ~(size_t)(QY_PAGE_BYTES - 1);
}

struct qy_cpu *qy_port_attach(struct qy_mm *mm)
{
    if (exiting || mm->port_index >= QY_LINUX_INSTANCES || instances[mm->port_index].mm != mm)
        return NULL;
    struct instance *instance = &instances[mm->port_index];
    bool with_cpu = instance->storage == NULL;
    struct block *block = get_block(mm, block_bytes(mm, with_cpu));
    if (block == NULL)
        return NULL;
    char *memory = (char *)block + 64;
    struct qy_cpu *cpu = with_cpu ? (void *)memory : instance->storage();
    if (with_cpu)
        memory += (sizeof(struct qy_cpu) + 63) & ~(size_t)63;
    block->cpu = cpu;
    block->home = &qy_linux_cpus[mm->port_index];
    use_block(instance, block);
    qy_cpu_attach(mm, cpu, memory);
    qy_linux_cpus[mm->port_index] = cpu;
    pthread_setspecific(key, cpu);
    return cpu;
}

/* ---- instances ---- */

int qy_linux_slots_open(struct qy_mm *mm)
{
    pthread_mutex_lock(&blocks_lock);
    if (!have_key)
        have_key = pthread_key_create(&key, thread_exits) == 0;
    for (unsigned i = 0; have_key && i < QY_LINUX_INSTANCES; i++)
        if (instances[i].mm == NULL) {
            instances[i] = (struct instance){.mm = mm};
            mm->port_index = i;
            break;
        }
    pthread_mutex_unlock(&blocks_lock);
    return mm->port_index < QY_LINUX_INSTANCES ? 0 : -1;
}

void qy_linux_slots_in(struct qy_mm *mm, struct qy_cpu *(*storage)(void))
{
    if (mm->port_index < QY_LINUX_INSTANCES)
        instances[mm->port_index].storage = storage;
}

void qy_linux_slots_close(struct qy_mm *mm)
{
    if (mm->port_index >= QY_LINUX_INSTANCES)
        return;
    struct instance *instance = &instances[mm->port_index];
    pthread_mutex_lock(&blocks_lock);
    while (instance->blocks != NULL) {
        struct block *block = instance->blocks;
        instance->blocks = block->next;
        *block->home = NULL;
        block->next = free_blocks;
        free_blocks = block;
    }
    for (struct block *block = free_blocks; block != NULL; block = block->next)
        block->mm = block->mm != mm ? block->mm : NULL;
    *instance = (struct instance){.mm = NULL};
    mm->port_index = UINT32_MAX;
    pthread_mutex_unlock(&blocks_lock);
}

void qy_linux_slots_after_fork(struct qy_mm *mm)
{
    struct qy_cpu *own = qy_port_cpu(mm, mm->port_index);
    pthread_mutex_init(&blocks_lock, NULL);
    for (struct qy_list *link = mm->cpus.next, *next; link != &mm->cpus; link = next) {
        struct qy_cpu *cpu = qy_list_entry(link, struct qy_cpu, link);
        next = link->next;
        if (cpu == own)
            continue;
        qy_list_remove(link);
        mm->nr_cpus--;
        if (qy_cpu_is_suspended(cpu))
            qy_slot_abandon(mm, cpu);
        else
            qy_slot_empty(mm, cpu);
        put_block(&instances[mm->port_index], cpu, NULL);
    }
}
