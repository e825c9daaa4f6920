/*
 * If this failed: a child of fork(2) that calls on what is its parent's would write into the
 * parent's file, wait for ever for a thread of the parent's, or give away a buffer that a device
 * writes to.
 */
#include "whole.h"

#include <quarry/cma.h>
#include <quarry/space.h>

#include <pthread.h>
#include <stdatomic.h>

#define FILE_BYTES (4 * MIB)
#define FORKS 20

struct things {
    struct qy_mm *mm;
    struct qy_file *file;
    struct qy_cma *cma;
    qy_pfn_t pfn;
    struct qy_shrinker shrinker;
    char path[64];
    struct qy_space *space; /* of a memory that it can be of */
    struct qy_file *mapped; /* there */
    char *at;
};

static uint64_t none(struct qy_shrinker *shrinker)
{
    (void)shrinker;
    return 0;
}

static uint64_t nothing(struct qy_shrinker *shrinker, uint64_t count)
{
    (void)shrinker;
    return count - count;
}

#define REFUSED(call)                                                                              \
    do {                                                                                           \
        int64_t came = (call);                                                                     \
        EXPECT(came == -ENOTSUP, "ENOTSUP of " #call ", came %d", (int)came);                      \
    } while (0)

static void files_are_refused(const struct things *things)
{
    char bytes[64] = "the child's";
    int code = 0;
    struct qy_error error = {0};
    struct qy_file_stat stat;
    const struct qy_file_ops ops = {.read = NULL};
    REFUSED(qy_file_read(things->file, bytes, sizeof(bytes), 0));
    REFUSED(qy_file_write(things->file, bytes, sizeof(bytes), 0));
    REFUSED(qy_file_truncate(things->file, 0));
    REFUSED(qy_file_sync(things->file));
    REFUSED(qy_file_unpin(things->file, 0));
    REFUSED(qy_file_close(things->file));
    EXPECT(qy_file_pin(things->file, 0, true, &code) == NULL && code == -ENOTSUP, "no pin");
    EXPECT(qy_file_drop(things->file) == 0 && qy_file_bytes(things->file) == 0, "nothing");
    qy_file_stat(things->file, &stat);
    EXPECT(stat.pages == 0, "no pages, came %d", (int)stat.pages);
    EXPECT(qy_linux_file_open(things->mm, things->path, O_RDWR | O_TRUNC, &error) == NULL &&
               error.code == -ENOTSUP && strstr(error.text, "fork") != NULL,
           "no file, came %d, %s", error.code, error.text);
    EXPECT(qy_file_create(things->mm, "own", &ops, NULL, 0, &error) == NULL &&
               error.code == -ENOTSUP,
           "no file, came %d", error.code);
}

static void spaces_are_refused(const struct things *things)
{
    struct qy_error error = {0};
    struct qy_space_stat stat;
    qy_pfn_t pfn;
    EXPECT(qy_space_map_file(things->space, things->mapped, 0, MIB, QY_PROT_READ, 0, &error) ==
                   NULL &&
               error.code == -ENOTSUP && strstr(error.text, "fork") != NULL,
           "no area of a file, came %d, %s", error.code, error.text);
    EXPECT(qy_space_map(things->space, MIB, QY_PROT_READ, 0, &error) == NULL &&
               error.code == -ENOTSUP,
           "no area, came %d", error.code);
    REFUSED(qy_space_unmap(things->space, things->at, MIB));
    REFUSED(qy_space_protect(things->space, things->at, MIB, QY_PROT_READ));
    REFUSED(qy_space_fault(things->space, things->at, true));
    REFUSED(qy_space_pin(things->space, things->at, MIB, QY_PIN_SHORT, &pfn));
    REFUSED(qy_space_unpin(things->space, things->at, MIB));
    REFUSED(qy_space_destroy(things->space));
    REFUSED(qy_file_close(things->mapped));
    qy_space_stat(things->space, &stat);
    EXPECT(stat.areas == 0, "no areas");
}

static void regions_are_refused(struct things *things)
{
    const struct qy_cma_options options = {
        .name = "own", .ranges = {{QY_PFN_NONE, 1024}}, .nr_ranges = 1};
    const struct qy_cma_request request = {.nr_frames = 64};
    struct qy_error error = {0};
    struct qy_cma_stat stat;
    struct qy_pressure pressure;
    qy_pfn_t pfn;
    REFUSED(qy_cma_alloc(things->cma, &request, &pfn, NULL));
    REFUSED(qy_cma_alloc_partial(things->cma, &request, &pfn, NULL));
    REFUSED(qy_cma_release(things->cma, things->pfn, 64));
    REFUSED(qy_cma_destroy(things->cma));
    REFUSED(qy_shrinker_register(things->mm, &things->shrinker));
    REFUSED(qy_linux_reclaimer_start(things->mm));
    EXPECT(qy_cma_create(things->mm, &options, &error) == NULL && error.code == -ENOTSUP,
           "no region, came %d", error.code);
    EXPECT(qy_space_create(things->mm, "own", 0, &error) == NULL && error.code == -ENOTSUP,
           "no space, came %d", error.code);
    EXPECT(qy_cma_find(things->mm, "default") == NULL, "no region");
    EXPECT(qy_reclaim(things->mm, 100) == 0 && !qy_reclaim_background(things->mm) &&
               qy_compact(things->mm, 9, 0, NULL) == 0,
           "nothing given up");
    qy_cma_stat(things->cma, &stat);
    EXPECT(stat.frames == 0, "no figures");
    qy_mm_set_oom(things->mm, NULL, NULL);
    qy_mm_pressure(things->mm, &pressure);
    qy_linux_reclaimer_stop(things->mm);
    qy_shrinker_unregister(things->mm, &things->shrinker);
}

/** What the child has all the same. */
static void malloc_goes_on(void)
{
    void *blocks[100];
    for (unsigned i = 0; i < 100; i++) {
        blocks[i] = malloc(i * 1000);
        EXPECT(blocks[i] != NULL, "malloc to go on");
    }
    for (unsigned i = 0; i < 100; i++)
        free(blocks[i]);
}

/** A memory of the child's own is none of its parent's. */
static void own_memory(void)
{
    const struct qy_linux_options options = {.movable = true, .span_bytes = 64 * MIB};
    struct qy_mm *mm = qy_linux_mm_create(&options, NULL);
    EXPECT(mm != NULL, "a memory of its own");
    struct qy_file *file = open_temporary(mm, NULL);
    write_all(file, MIB, 7);
    read_all(file, MIB, 7);
    EXPECT(qy_file_close(file) == 0, "to close its own file");
    qy_linux_mm_destroy(mm);
}

static _Atomic bool over;

/** Locks of files and lists are held at any moment. */
static void *use(void *argument)
{
    struct things *things = argument;
    while (!atomic_load(&over)) {
        read_all(things->file, FILE_BYTES, 1);
        qy_file_drop(things->file);
        qy_reclaim(things->mm, 32);
    }
    return NULL;
}

static struct things make_things(void)
{
    struct things things = {.mm = qy_malloc_memory(), .path = "/tmp/quarry-whole.XXXXXX"};
    const struct qy_cma_request request = {.nr_frames = 64};
    struct qy_error error = {0};
    int fd = mkstemp(things.path);
    EXPECT(fd >= 0 && close(fd) == 0, "a temporary file");
    things.file = qy_linux_file_open(things.mm, things.path, O_RDWR, &error);
    EXPECT(things.file != NULL, "to cache it: %s", error.text);
    write_all(things.file, FILE_BYTES, 1);
    things.cma = qy_cma_find(things.mm, "default");
    EXPECT(things.cma != NULL, "a region");
    EXPECT(qy_cma_alloc(things.cma, &request, &things.pfn, NULL) == 0, "a buffer");
    things.shrinker = (struct qy_shrinker){.count = none, .scan = nothing};
    return things;
}

/** An area of a file, in a memory of its own; it can be written while others fork. */
static struct qy_mm *make_area(struct things *things)
{
    const struct qy_linux_options options = {.shared = true, .span_bytes = 64 * MIB};
    struct qy_error error = {0};
    struct qy_mm *mm = qy_linux_mm_create(&options, &error);
    EXPECT(mm != NULL, "a memory: %s", error.text);
    things->space = qy_space_create(mm, "space", 0, &error);
    EXPECT(things->space != NULL, "a space: %s", error.text);
    things->mapped = open_temporary(mm, NULL);
    write_all(things->mapped, MIB, 3);
    things->at = qy_space_map_file(things->space, things->mapped, 0, MIB, QY_PROT_WRITE, 0, &error);
    EXPECT(things->at != NULL, "an area of a file: %s", error.text);
    return mm;
}

static void end_area(struct qy_mm *mm, struct things *things)
{
    EXPECT(qy_file_close(things->mapped) == 0, "to close the file, which its area has");
    EXPECT(qy_space_destroy(things->space) == 0, "to destroy the space");
    qy_linux_mm_destroy(mm);
}

int main(void)
{
    static struct things things;
    pthread_t thread;
    char how[64];
    deadline(200);
    things = make_things();
    struct qy_mm *mm = make_area(&things);
    EXPECT(pthread_create(&thread, NULL, use, &things) == 0, "a thread");
    for (unsigned i = 0; i < FORKS; i++) {
        things.at[i * 4096] = (char)i;
        pid_t pid = fork();
        if (pid == 0) {
            deadline(60);
            files_are_refused(&things);
            spaces_are_refused(&things);
            regions_are_refused(&things);
            malloc_goes_on();
            own_memory();
            files_are_refused(&things);
            _exit(0);
        }
        EXPECT(!child_failed(pid, how, sizeof how), "child %u to come to its end, came %s", i, how);
    }
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    read_all(things.file, FILE_BYTES, 1);
    EXPECT(qy_cma_release(things.cma, things.pfn, 64) == 0, "to release the buffer");
    EXPECT(qy_file_close(things.file) == 0, "to close the file");
    unlink(things.path);
    for (unsigned i = 0; i < FORKS; i++)
        EXPECT(things.at[i * 4096] == (char)i, "what was written by the pointer");
    end_area(mm, &things);
    return 0;
}
