/*
 * launch.c - a program run as a shell would run it, with one process in between
 *
 * The program is in this process's own group: what the terminal sends reaches both at once,
 * so that only signals which somebody sent to this process alone are passed on. When the
 * program stops, this process stops too, and the shell's `fg` continues both.
 */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/** Signals that are about this process itself; all others that come are the program's. */
static const int own[] = {SIGSEGV, SIGBUS,  SIGFPE,  SIGILL, SIGTRAP,
                          SIGSYS,  SIGPIPE, SIGTTIN, SIGTTOU};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void set_environment(const struct launch *launch)
{
    const char *before = getenv("LD_PRELOAD");
    char *preload = NULL;
    if (asprintf(&preload, "%s%s%s", launch->library, before != NULL && *before ? ":" : "",
                 before == NULL ? "" : before) < 0)
        _exit(EXIT_RUN_FAILED);
    setenv("LD_PRELOAD", preload, 1);
    setenv(QY_REPORT_TO, collector_address(launch->collector), 1);
    if (launch->limit != NULL)
        setenv("QUARRY_LIMIT", launch->limit, 1);
    if (launch->cma != NULL)
        setenv("QUARRY_CMA", launch->cma, 1);
    if (launch->check)
        setenv("QUARRY_CHECK", "1", 1);
    if (launch->harden)
        setenv("QUARRY_HARDEN", "1", 1);
}

/** In the child: become the program, or say through the pipe why not. */
static _Noreturn void become(const struct launch *launch, int pipe_end, const sigset_t *mask,
                             const struct sigaction *on_child)
{
    set_environment(launch);
    sigaction(SIGCHLD, on_child, NULL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(launch->argv[0], launch->argv);
    int error = errno;
    ssize_t written = write(pipe_end, &error, sizeof(error));
    _exit(written < 0 ? EXIT_RUN_FAILED : EXIT_NOT_FOUND);
}

/** 0: it runs. Else the errno of the exec. */
static int exec_error(int pipe_end)
{
    int error = 0;
    ssize_t length;
    do
        length = read(pipe_end, &error, sizeof(error));
    while (length < 0 && errno == EINTR);
    return length == (ssize_t)sizeof(error) ? error : 0;
}

/** One signal that came to this process. */
static void pass_on(const siginfo_t *info, pid_t program)
{
    bool from_somebody =
        info->si_code == SI_USER || info->si_code == SI_QUEUE || info->si_code == SI_TKILL;
    if (from_somebody && info->si_pid != program && info->si_code == SI_QUEUE)
        sigqueue(program, info->si_signo, info->si_value);
    else if (from_somebody && info->si_pid != program)
        kill(program, info->si_signo);
    else if (info->si_signo == SIGTSTP)
        kill(getpid(), SIGSTOP); /* the terminal stopped the program already */
}

/** Of a program that has ended more is known before it is waited for. */
static void look_at_dead(pid_t program, struct collector *collector, struct ending *ending)
{
    siginfo_t info = {.si_pid = 0};
    struct glance glance;
    if (waitid(P_PID, (id_t)program, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid != program)
        return;
    ending->is_own = procfs_glance(program, &glance) && !glance.has_waited;
    collector_stop(collector);
}

static void wait_for_end(pid_t program, const sigset_t *set, struct collector *collector,
                         struct ending *ending)
{
    int status = 0;
    for (;;) {
        look_at_dead(program, collector, ending);
        pid_t changed = wait4(program, &status, WNOHANG | WUNTRACED, &ending->usage);
        if (changed == program && WIFSTOPPED(status)) {
            kill(getpid(), SIGSTOP); /* whoever continues this process, pass_on() tells it */
            continue;
        }
        if (changed == program || (changed < 0 && errno != EINTR))
            break;
        siginfo_t info;
        if (sigwaitinfo(set, &info) > 0 && info.si_signo != SIGCHLD)
            pass_on(&info, program);
    }
    ending->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    ending->status = WIFSIGNALED(status) ? EXIT_SIGNALLED + ending->signal : WEXITSTATUS(status);
}

static int start(const struct launch *launch, const sigset_t *set, pid_t *program)
{
    int pipe_ends[2];
    sigset_t before;
    struct sigaction usual = {.sa_handler = SIG_DFL}, on_child;
    if (pipe2(pipe_ends, O_CLOEXEC) != 0)
        return -errno;
    sigaction(SIGCHLD, &usual, &on_child);
    sigprocmask(SIG_BLOCK, set, &before);
    *program = fork();
    if (*program == 0)
        become(launch, pipe_ends[1], &before, &on_child);
    int error = *program < 0 ? -errno : 0;
    close(pipe_ends[1]);
    if (error == 0)
        error = exec_error(pipe_ends[0]);
    close(pipe_ends[0]);
    if (error > 0)
        waitpid(*program, NULL, 0);
    return error;
}

int launch(const struct launch *launch, struct ending *ending)
{
    sigset_t set;
    sigfillset(&set);
    for (size_t s = 0; s < sizeof(own) / sizeof(own[0]); s++)
        sigdelset(&set, own[s]);

    *ending = (struct ending){.status = 0};
    uint64_t began = now_ns();
    int error = start(launch, &set, &ending->pid);
    if (error < 0) {
        complain("cannot start a process: %s", strerror(-error));
        return EXIT_RUN_FAILED;
    }
    if (error > 0) {
        complain("%s: %s", launch->argv[0][0] != '\0' ? launch->argv[0] : "''",
                 error == ENOENT ? "there is no such program" : strerror(error));
        return error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
    }
    collector_run(launch->collector);
    wait_for_end(ending->pid, &set, launch->collector, ending);
    ending->wall_ns = now_ns() - began;
    return EXIT_OK;
}
