/*
 * show.c - `quarry show`: the files of Linux's /proc, of a process or of this machine
 */
#include "json.h"
#include "tool.h"

#include <jansson.h>
#include <string.h>

enum {
    KEY_JSON = KEY_MEMORY + 1
};

struct request {
    const struct what *what; /* NULL: all */
    bool named;
    bool json;
    struct whose whose; /* memory 0: all of the process's */
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

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    if (key == KEY_JSON) {
        request->json = true;
        return 0;
    }
    if (key == ARGP_KEY_ARG && !request->named) {
        take_what(request, argument, state);
        return 0;
    }
    if (key == ARGP_KEY_END && !request->named)
        argp_failure(state, EXIT_USAGE, 0, "show what? --help lists what can be shown");
    return whose_parse(key, argument, state, &request->whose);
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
    if (status == EXIT_OK && target->count > 1 && request->whose.memory == 0 && !request->json)
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
    int status = whose_find(&request->whose, &target);
    bool all = request->whose.memory == 0 && target.count > 1;
    json_t *memories = all && status == EXIT_OK ? json_array() : NULL;
    for (size_t m = 0; m < target.count && status == EXIT_OK; m++) {
        if (!all && m + 1 != request->whose.memory && target.count > 1)
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
    struct request request = {.what = NULL};
    argp_parse(&argp, argc, argv, 0, NULL, &request);

    json_t *object = json_object();
    int status = request.whose.host ? show_host(&request, object) : show_process(&request, object);
    if (request.json && json_object_size(object) > 0)
        json_write(object, stdout);
    else
        json_decref(object);
    return status;
}
