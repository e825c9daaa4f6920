/* ender MIB HOW [fork]: takes so many MiB in pieces of 1000 bytes, then ends as is said: by exit(),
 * _exit(), quick_exit(), a system call of its own, or the signal of that number. With "fork" a
 * child does. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *take(size_t bytes)
{
    char *piece = malloc(bytes);
    if (piece != NULL)
        memset(piece, 1, bytes);
    return piece;
}

static void end(const char *how)
{
    if (strcmp(how, "exit") == 0)
        exit(0);
    if (strcmp(how, "_exit") == 0)
        _exit(0);
    if (strcmp(how, "quick_exit") == 0)
        quick_exit(0);
    if (strcmp(how, "raw") == 0)
        syscall(SYS_exit_group, 0);
    signal(atoi(how), SIG_DFL);
    kill(getpid(), atoi(how));
}

int main(int argc, char **argv)
{
    if (argc > 3) {
        pid_t child = fork();
        if (child != 0)
            return waitpid(child, NULL, 0) != child;
    }
    for (size_t bytes = (size_t)atoi(argv[1]) << 20; bytes >= 1000; bytes -= 1000)
        if (take(1000) == NULL)
            return 1;
    end(argv[2]);
    return 1;
}
