/*
 * If this failed: a child of fork(2) would write the parent's dirty pages into the parent's file,
 * over what the parent has written since; or its malloc would wait for locks that threads of the
 * parent held.
 */
#include "whole.h"

#include <pthread.h>
#include <stdatomic.h>

#define FILE_BYTES (24 * MIB)
#define FORKS 40

/** Take all the memory there is, so that whoever can is asked for more. */
static void run_short(void)
{
    while (malloc(MIB / 8) != NULL)
        continue;
    while (malloc(100) != NULL)
        continue;
}

static void child_keeps_off(struct qy_mm *mm)
{
    int fd, go[2];
    char how[64];
    struct qy_file *file = open_temporary(mm, &fd);
    write_all(file, FILE_BYTES, 1);
    EXPECT(pipe(go) == 0, "a pipe");
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        deadline(60);
        close(go[1]);
        read(go[0], &byte, 1);
        run_short();
        _exit(0);
    }
    write_all(file, FILE_BYTES, 2);
    EXPECT(qy_file_sync(file) == 0, "to write back");
    close(go[1]);
    EXPECT(!child_failed(pid, how, sizeof how), "a child that comes to its end, came %s", how);
    for (uint64_t at = 0; at < FILE_BYTES; at += PAGE) {
        uint64_t generation = 0;
        pread(fd, &generation, sizeof(generation), (off_t)at);
        EXPECT(generation == 2, "what the parent wrote last at %zu, came %zu", (size_t)at,
               (size_t)generation);
    }
    EXPECT(qy_file_close(file) == 0, "to close the file");
}

static _Atomic bool over;

static void *use(void *argument)
{
    while (!atomic_load(&over)) {
        write_all(argument, FILE_BYTES, 3);
        char *block = malloc(24 * MIB);
        if (block != NULL)
            memset(block, 1, 24 * MIB);
        free(block);
    }
    return NULL;
}

/** A child gets no files, and is told so. */
static void is_refused(struct qy_mm *mm)
{
    struct qy_error error = {0};
    EXPECT(qy_linux_file_open(mm, "/proc/self/exe", O_RDONLY, &error) == NULL, "no file");
    EXPECT(error.code == -ENOTSUP, "ENOTSUP, came %d", error.code);
}

/** Other threads are anywhere: in the cache, in reclaim, in write-back. */
static void child_does_not_wait(struct qy_mm *mm)
{
    pthread_t threads[2];
    char how[64];
    struct qy_file *file = open_temporary(mm, NULL);
    for (unsigned i = 0; i < 2; i++)
        EXPECT(pthread_create(&threads[i], NULL, use, file) == 0, "a thread");
    for (unsigned i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            deadline(60);
            is_refused(mm);
            run_short();
            _exit(0);
        }
        EXPECT(!child_failed(pid, how, sizeof how), "child %u to come to its end, came %s", i, how);
    }
    atomic_store(&over, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    read_all(file, FILE_BYTES, 3);
    EXPECT(qy_file_close(file) == 0, "to close the file");
}

int main(void)
{
    struct qy_mm *mm = qy_malloc_memory();
    deadline(200);
    child_keeps_off(mm);
    child_does_not_wait(mm);
    return 0;
}
