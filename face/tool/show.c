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
    KEY_JSON = KEY_HOST + 1
};

struct request {
    const struct what *what; /* NULL: all */
    bool named;
    bool host, json;
    pid_t pid; /* 0: not given */
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

void check_whose(struct argp_state *state, pid_t pid, bool host)
{
    if (host && pid != 0)
        argp_failure(state, EXIT_USAGE, 0, "either a PID or --host, not both");
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
        check_whose(state, request->pid, request->host);
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

/** A thing's views: the machine's own for a host, else the process's, which are all there. */
static int gather(const struct request *request, const struct what *what, struct views *views)
{
    return request->pid == 0 ? host_read(what, views) : remote_read(request->pid, views);
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

/** What was asked for by name, and is not there, is more than an empty list. */
static int complain_of_nothing(const struct request *request, const struct views *views)
{
    if (request->pid != 0 || request->what == NULL || request->what->print != qy_show_cma ||
        views->nr_regions > 0)
        return EXIT_OK;
    complain("this kernel has no contiguous regions, or does not show them: there is nothing in "
             "/sys/kernel/mm/cma");
    return EXIT_FAILED;
}

static int show(const struct request *request, json_t *object)
{
    struct views views = {.nr_zones = 0};
    int status = EXIT_OK;
    for (size_t w = 0; w < nr_whats; w++) {
        const struct what *what = &whats[w];
        if (request->what != NULL && request->what != what)
            continue;
        /* One look at a process serves for all, so that its figures belong together. */
        if (request->pid == 0 || views.nr_zones == 0) {
            views_free(&views);
            int failed = gather(request, what, &views);
            status = failed == EXIT_OK ? status : failed;
            if (failed != EXIT_OK && request->pid != 0)
                break;
            if (failed != EXIT_OK)
                continue;
        }
        int nothing = complain_of_nothing(request, &views);
        if (nothing != EXIT_OK) {
            status = nothing;
            continue;
        }
        if (request->json)
            json_object_set_new(object, what->name, json_what(what, &views));
        else
            show_text(request, what, &views);
    }
    views_free(&views);
    return status;
}

int command_show(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"host", KEY_HOST, NULL, 0, "This machine's own memory, as its /proc and /sys say", 0},
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
    int status = show(&request, object);
    if (request.json && json_object_size(object) > 0)
        json_write(object, stdout);
    else
        json_decref(object);
    return status;
}
