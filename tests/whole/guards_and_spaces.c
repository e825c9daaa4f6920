/*
 * If this failed: in a hardened program that has spaces as well a page that is not in place would
 * end it, or a block's guard would end it without a word.
 */
#include "whole.h"

#include <quarry/space.h>

static char said[4096];

/** Ends by SIGABRT, and in said stands what it had to say. */
static void run_into(char *at)
{
    int ends[2], status = 0;
    EXPECT(pipe(ends) == 0, "a pipe");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        *(volatile char *)at = 1;
        _exit(0);
    }
    close(ends[1]);
    ssize_t length = read(ends[0], said, sizeof(said) - 1);
    said[length > 0 ? length : 0] = '\0';
    close(ends[0]);
    waitpid(pid, &status, 0);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "SIGABRT, came status %#x", status);
}

static void both(void)
{
    struct qy_error error = {0};
    const struct qy_linux_options options = {.limit_bytes = 16 * MIB, .shared = true};
    struct qy_mm *mm = qy_linux_mm_create(&options, &error);
    EXPECT(mm != NULL, "a memory of its own: %s", error.text);
    struct qy_space *space = qy_space_create(mm, "here", 0, &error);
    EXPECT(space != NULL, "a space: %s", error.text);
    char *page = qy_space_map(space, 64 * PAGE, QY_PROT_WRITE, 0, &error);
    EXPECT(page != NULL, "an area: %s", error.text);
    char *block = malloc(100000);
    for (size_t i = 0; i < 64; i++)
        page[i * PAGE] = 1;
    run_into(block - 1);
    EXPECT(strstr(said, "quarry: underflow of ") && strstr(said, "+100000): rule D1"),
           "to be told whose guard it is, came '%s'", said);
    free(block);
    run_into(block);
    EXPECT(strstr(said, "quarry: use after free of "), "to be told that it is freed, came '%s'",
           said);
    EXPECT(qy_space_destroy(space) == 0, "an end of the space");
    qy_linux_mm_destroy(mm);
}

int main(int argc, char **argv)
{
    (void)argc;
    deadline(60);
    if (strcmp(stage(), "hardened") == 0) {
        both();
        return 0;
    }
    setenv("QUARRY_HARDEN", "1", 1);
    become_stage("hardened", argv);
}
