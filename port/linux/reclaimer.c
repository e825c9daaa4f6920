/*
 * reclaimer.c - a thread that keeps memory above its watermarks
 *
 * WHAT    It sleeps on mm->background. Who finds a zone below its low watermark, and nothing more
 *         to bring online, wakes it; it gives up cache until the high watermark is reached.
 *
 * LOCKS   table_lock for which instance has one.
 *
 * COST    None while there is enough.
 */
#define _GNU_SOURCE
#include "linux.h"

#include "memory/mm.h"

#include <quarry/cache.h>

#include <errno.h>
#include <pthread.h>

struct reclaimer {
    struct qy_mm *mm; /* NULL: a free place */
    pthread_t thread;
    _Atomic bool over;
};

static struct reclaimer reclaimers[QY_LINUX_INSTANCES];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

static void *work(void *argument)
{
    struct reclaimer *self = argument;
    struct qy_mm *mm = self->mm;
    while (!atomic_load(&self->over)) {
        if (qy_reclaim_background(mm))
            continue;
        /* Once more after it is said that this one sleeps: else a call between would be lost. */
        atomic_store(&mm->background, 1);
        if (!atomic_load(&self->over) && !qy_reclaim_background(mm))
            qy_port_sleep(&mm->background, 1);
        atomic_store(&mm->background, 0);
    }
    return NULL;
}

static struct reclaimer *place_of(const struct qy_mm *mm)
{
    for (unsigned i = 0; i < QY_LINUX_INSTANCES; i++)
        if (reclaimers[i].mm == mm)
            return &reclaimers[i];
    return NULL;
}

int qy_linux_reclaimer_start(struct qy_mm *mm)
{
    int code = 0;
    if (qy_port_inherited(mm))
        return -ENOTSUP;
    pthread_mutex_lock(&table_lock);
    struct reclaimer *place = place_of(NULL);
    if (place_of(mm) != NULL) {
        code = -EEXIST;
    } else if (place == NULL) {
        code = -EAGAIN;
    } else {
        place->mm = mm;
        atomic_store(&place->over, false);
        code = -pthread_create(&place->thread, NULL, work, place);
        if (code != 0)
            place->mm = NULL;
    }
    pthread_mutex_unlock(&table_lock);
    return code;
}

void qy_linux_reclaimer_stop(struct qy_mm *mm)
{
    if (qy_port_inherited(mm))
        return; /* no thread of the parent's is in the child */
    pthread_mutex_lock(&table_lock);
    struct reclaimer *place = place_of(mm);
    pthread_mutex_unlock(&table_lock);
    if (place == NULL)
        return;
    atomic_store(&place->over, true);
    atomic_store(&mm->background, 0);
    qy_port_wake(&mm->background);
    pthread_join(place->thread, NULL);
    pthread_mutex_lock(&table_lock);
    place->mm = NULL;
    pthread_mutex_unlock(&table_lock);
}
