/*
 * If this failed: blocks with a page of their own (QUARRY_SAMPLE) would be other blocks after a
 * fork or a trim, be counted wrongly, or be left to whoever uses them after they were freed.
 */
#include "contract.h"

#define BLOCKS 40
#define BYTES 100

static char *blocks[BLOCKS];

static void fill(char value)
{
    for (int i = 0; i < BLOCKS; i++)
        memset(blocks[i], value + i, BYTES);
}

static void look(char value, const char *when)
{
    for (int i = 0; i < BLOCKS; i++)
        for (int at = 0; at < BYTES; at++)
            EXPECT(blocks[i][at] == (char)(value + i), "block %d as it was, %s", i, when);
}

static void renew(void)
{
    for (int i = 0; i < BLOCKS; i++) {
        free(blocks[i]);
        EXPECT((blocks[i] = malloc(BYTES)) != NULL, "a block");
    }
}

/* What a child that uses a freed block says; it must end by SIGSEGV. */
static void use_after_free(char *said, size_t room)
{
    int ends[2], status = 0;
    EXPECT(pipe(ends) == 0, "a pipe");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        char *block = malloc(BYTES);
        free(block);
        *(volatile char *)opaque(block + 7) = 1;
        _exit(0);
    }
    close(ends[1]);
    ssize_t bytes = read(ends[0], said, room - 1);
    said[bytes > 0 ? bytes : 0] = '\0';
    waitpid(pid, &status, 0);
    close(ends[0]);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "SIGSEGV, came status %#x", status);
}

int main(void)
{
    deadline(60);
    bool sampled = getenv("QUARRY_SAMPLE") && under_quarry();
    for (int i = 0; i < BLOCKS; i++)
        EXPECT((blocks[i] = malloc(BYTES)) != NULL, "a block");
    fill(1);
    pid_t pid = fork();
    EXPECT(pid >= 0, "a child");
    if (pid == 0) {
        look(1, "in the child");
        renew();
        fill(2);
        look(2, "in the child, anew");
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    EXPECT(status == 0, "the child to end well, came status %#x", status);
    look(1, "after the child");
    malloc_trim(0);
    look(1, "after a trim");
    renew();
    malloc_trim(0);
    fill(3);
    look(3, "anew");
    for (int i = 0; i < BLOCKS; i++)
        EXPECT((blocks[i] = realloc(blocks[i], BYTES + i)) != NULL, "a longer block");
    look(3, "after realloc");
    if (!sampled)
        return 0;

    struct mallinfo2 info = mallinfo2();
    EXPECT(info.uordblks + info.fordblks == info.arena, "the two to make up the arena");
    EXPECT(info.uordblks >= BLOCKS * 4 * KIB, "each block counted with its page");
    EXPECT(info.uordblks < 2 * MIB, "pages without a block not counted, came %zu", info.uordblks);
    EXPECT(malloc_usable_size(blocks[5]) == BYTES + 5, "the size that was asked for");
    char said[400], *mark;
    use_after_free(said, sizeof said);
    EXPECT((mark = strstr(said, "quarry: use-after-free write of 0x")) != NULL, "a line, came '%s'",
           said);
    EXPECT(strstr(mark, "(cache kmalloc-112, object 0x") != NULL, "the block, came '%s'", said);
    EXPECT(strstr(mark, "+100): rule D2, allocated by thread ") != NULL, "its owner, came '%s'",
           said);
    EXPECT(strstr(mark, ", 7 bytes into it\n") != NULL, "where, came '%s'", said);
    return 0;
}
