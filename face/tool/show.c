/*
 * show.c - `quarry show`: the files of Linux's /proc, of a process or of this machine
 */
#include "json.h"
#include "tool.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_JSON = KEY_MEMORY + 1
};

struct request {
    const struct what *what; /* NULL: all */
    bool named;
    bool host, json;
    pid_t pid;     /* 0: not given */
    size_t memory; /* 0: all of the process's */
};

static void take_what(struct request *request, const char *name, struct argp_state *state)
{
    request->named = true;
    if (strcmp(name, "all") == 0)
        return;
    request->what = what_find(name);
    if (request->what != NULL)
        return;
    const char *names[16] = {"all"};
    for (size_t w = 0; w < nr_whats; w++)
        names[w + 1] = whats[w].name;
    const char *meant = nearest(name, names, nr_whats + 1);
    if (meant != NULL)
        argp_failure(state, EXIT_USAGE, 0, "nothing is called '%s'; did you mean '%s'?", name,
                     meant);
    else
        argp_failure(state, EXIT_USAGE, 0, "nothing is called '%s'; --help lists what can be shown",
                     name);
}

static pid_t parse_pid(const char *text)
{
    char *end;
    errno = 0;
    long pid = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && pid > 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

void take_pid(struct argp_state *state, const char *argument, pid_t *pid)
{
    if (*pid != 0)
        argp_failure(state, EXIT_USAGE, 0, "one PID at a time: '%s' is one too many", argument);
    *pid = parse_pid(argument);
    if (*pid == 0)
        argp_failure(state, EXIT_USAGE, 0, "'%s' is not a PID", argument);
}

size_t take_number(struct argp_state *state, const char *argument)
{
    pid_t number = parse_pid(argument);
    if (number == 0)
        argp_failure(state, EXIT_USAGE, 0, "--memory: '%s' is no number from 1 on", argument);
    return (size_t)number;
}

int check_memory(const struct target *target, size_t memory)
{
    if (memory <= target->count)
        return EXIT_OK;
    complain("process %d (%s) has no memory %zu: it has %zu", (int)target->pid, target->name,
             memory, target->count);
    return EXIT_FAILED;
}

void check_whose(struct argp_state *state, pid_t pid, size_t memory, bool host)
{
    if (host && pid != 0)
        argp_failure(state, EXIT_USAGE, 0, "either a PID or --host, not both");
    if (host && memory != 0)
        argp_failure(state, EXIT_USAGE, 0, "--memory is of a process, this machine has one");
    if (!host && pid == 0)
        argp_failure(state, EXIT_USAGE, 0, "whose? give a PID, or --host for this machine's own");
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    switch (key) {
    case KEY_HOST:
        request->host = true;
        return 0;
    case KEY_MEMORY:
        request->memory = take_number(state, argument);
        return 0;
    case KEY_JSON:
        request->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (!request->named) {
            take_what(request, argument, state);
            return 0;
        }
        take_pid(state, argument, &request->pid);
        return 0;
    case ARGP_KEY_END:
        if (!request->named)
            argp_failure(state, EXIT_USAGE, 0, "show what? --help lists what can be shown");
        check_whose(state, request->pid, request->memory, request->host);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void list_whats(FILE *out)
{
    fputs("WHAT is one of\n", out);
    for (size_t w = 0; w < nr_whats; w++)
        fprintf(out, "  %-13s %s\n", whats[w].name, whats[w].summary);
    fputs("  all           all of these\n", out);
}

static char *what_list(int key, const char *text, void *input)
{
    (void)input;
    return help_with_list(key, text, list_whats);
}

static void show_text(const struct request *request, const struct what *what,
                      const struct views *views)
{
    if (request->what == NULL)
        printf("%s== %s ==\n", what == &whats[0] ? "" : "\n", what->name);
    if (what->print == qy_show_cma && views->nr_regions == 0)
        puts("no contiguous region");
    else
        print_views(stdout, what, views);
}

static bool is_wanted(const struct request *request, const struct what *what)
{
    return request->what == NULL || request->what == what;
}

static void show_one(const struct request *request, const struct what *what,
                     const struct views *views, json_t *object)
{
    if (request->json)
        json_object_set_new(object, what->name, json_what(what, views));
    else
        show_text(request, what, views);
}

/** What was asked for by name, and is not there, is more than an empty list. */
static int complain_of_nothing(const struct request *request, const struct views *views)
{
    if (request->what == NULL || request->what->print != qy_show_cma || views->nr_regions > 0)
        return EXIT_OK;
    complain("this kernel has no contiguous regions, or does not show them: there is nothing in "
             "/sys/kernel/mm/cma");
    return EXIT_FAILED;
}

static int show_host(const struct request *request, json_t *object)
{
    int status = EXIT_OK;
    for (size_t w = 0; w < nr_whats; w++) {
        struct views views = {.nr_zones = 0};
        if (!is_wanted(request, &whats[w]))
            continue;
        int failed = host_read(&whats[w], &views);
        if (failed == EXIT_OK)
            failed = complain_of_nothing(request, &views);
        if (failed == EXIT_OK)
            show_one(request, &whats[w], &views, object);
        else
            status = failed;
        views_free(&views);
    }
    return status;
}

/** One look serves for all, so that its figures belong together. */
static int show_memory(const struct request *request, const struct target *target, size_t memory,
                       json_t *object)
{
    struct views views = {.nr_zones = 0};
    int status = remote_read(target, memory, &views);
    if (status == EXIT_OK && target->count > 1 && request->memory == 0 && !request->json)
        printf("%s== memory %zu of %zu%s, %s in use ==\n", memory > 0 ? "\n" : "", memory + 1,
               target->count, memory == 0 && target->has_malloc ? ", malloc's" : "",
               human_bytes(views_used(&views) * views.memory.page_bytes));
    for (size_t w = 0; w < nr_whats && status == EXIT_OK; w++)
        if (is_wanted(request, &whats[w]))
            show_one(request, &whats[w], &views, object);
    views_free(&views);
    return status;
}

/** Of several memories each is an object in an array. */
static int show_process(const struct request *request, json_t *object)
{
    struct target target;
    int status = target_find(&target, request->pid);
    if (status == EXIT_OK)
        status = check_memory(&target, request->memory);
    bool all = request->memory == 0 && target.count > 1;
    json_t *memories = all && status == EXIT_OK ? json_array() : NULL;
    for (size_t m = 0; m < target.count && status == EXIT_OK; m++) {
        if (!all && m + 1 != request->memory && target.count > 1)
            continue;
        json_t *one = all ? json_object() : object;
        status = show_memory(request, &target, m, one);
        if (all)
            json_array_append_new(memories, one);
    }
    if (memories != NULL)
        json_object_set_new(object, "memories", memories);
    target_forget(&target);
    return status;
}

int command_show(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"host", KEY_HOST, NULL, 0, "This machine's own memory, as its /proc and /sys say", 0},
        {"memory", KEY_MEMORY, "N", 0, "Of a process with several memories only this one", 0},
        {"json", KEY_JSON, NULL, 0, "JSON instead of /proc's formats", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .children = short_help,
        .args_doc = "WHAT PID|--host",
        .doc = "Show the memory of a process that runs on Quarry, or of this machine, in the "
               "formats of Linux's /proc. The process is not stopped.\v",
        .help_filter = what_list,
    };
    struct request request = {.pid = 0};
    argp_parse(&argp, argc, argv, 0, NULL, &request);

    json_t *object = json_object();
    int status = request.host ? show_host(&request, object) : show_process(&request, object);
    if (request.json && json_object_size(object) > 0)
        json_write(object, stdout);
    else
        json_decref(object);
    return status;
}
