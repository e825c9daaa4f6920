/*
 * whose.c - whose memory a command looks at: of a process, by its PID, or this machine's
 */
#include "tool.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

/** A number from 1 on, of digits alone; 0: it is none. */
static int number_of(const char *text)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    bool is_one = isdigit((unsigned char)*text) && *end == '\0' && errno == 0;
    return is_one && number <= INT_MAX ? (int)number : 0;
}

static void take_pid(struct argp_state *state, const char *argument, pid_t *pid)
{
    if (*pid != 0)
        argp_failure(state, EXIT_USAGE, 0, "one PID at a time: '%s' is one too many", argument);
    *pid = number_of(argument);
    if (*pid == 0)
        argp_failure(state, EXIT_USAGE, 0, "'%s' is not a PID", argument);
}

static void take_memory(struct argp_state *state, const char *argument, size_t *memory)
{
    *memory = (size_t)number_of(argument);
    if (*memory == 0)
        argp_failure(state, EXIT_USAGE, 0, "--memory: '%s' is no number from 1 on", argument);
}

/** This machine has to be asked for: an empty $(pidof ...) is no wish to see it. */
static void check(struct argp_state *state, const struct whose *whose)
{
    if (whose->host && whose->pid != 0)
        argp_failure(state, EXIT_USAGE, 0, "either a PID or --host, not both");
    if (whose->host && whose->memory != 0)
        argp_failure(state, EXIT_USAGE, 0, "--memory is of a process, this machine has one");
    if (!whose->host && whose->pid == 0)
        argp_failure(state, EXIT_USAGE, 0, "whose? give a PID, or --host for this machine's own");
}

error_t whose_parse(int key, char *argument, struct argp_state *state, struct whose *whose)
{
    switch (key) {
    case KEY_HOST:
        whose->host = true;
        return 0;
    case KEY_MEMORY:
        take_memory(state, argument, &whose->memory);
        return 0;
    case ARGP_KEY_ARG:
        take_pid(state, argument, &whose->pid);
        return 0;
    case ARGP_KEY_END:
        check(state, whose);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int whose_find(const struct whose *whose, struct target *target)
{
    int status = target_find(target, whose->pid);
    if (status != EXIT_OK || whose->memory <= target->count)
        return status;
    complain("process %d (%s) has no memory %zu: it has %zu", (int)target->pid, target->name,
             whose->memory, target->count);
    return EXIT_FAILED;
}
