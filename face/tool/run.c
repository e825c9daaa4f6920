/*
 * run.c - `quarry run`: a program on Quarry, and its memory at the end
 */
#include "tool.h"

#include <quarry/cma.h>

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY "libquarry-malloc.so"
/** The same, with the memory that regions need. */
#define WHOLE_LIBRARY "libquarry-whole.so"

enum {
    KEY_LIMIT = 256,
    KEY_REPORT,
    KEY_JSON,
    KEY_HARDEN,
    KEY_CMA,
    KEY_QUIET
};

struct request {
    char limit[24]; /* bytes, as text; "": none */
    const char *report;
    char cma[48]; /* bytes, and perhaps a policy; "": none */
    bool json, harden, quiet;
    char **argv; /* NULL: not given */
};

/** "512M" in bytes; 0: it is not a size. */
static uint64_t parse_size(const char *text)
{
    static const char units[] = "KMGTPE";
    char *end;
    errno = 0;
    uint64_t size = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *text == '-')
        return 0;
    const char *unit = *end == '\0' ? NULL : strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end);
    if (unit != NULL) {
        unsigned shift = 10 * (unsigned)(unit - units + 1);
        if (size > UINT64_MAX >> shift)
            return 0;
        size <<= shift;
        end++;
        end += strcasecmp(end, "ib") == 0 ? 2 : 0;
    }
    end += strcasecmp(end, "b") == 0 ? 1 : 0;
    return *end == '\0' ? size : 0;
}

/** SIZE[,POLICY], in bytes as the program will read it. False: it is no such thing. */
static bool read_region(const char *text, char *region, size_t bytes)
{
    char size[24];
    size_t length = strcspn(text, ",");
    snprintf(size, sizeof(size), "%.*s", (int)length, text);
    bool has_policy = text[length] == '\0';
    for (uint64_t policy = 0; !has_policy && policy <= QY_CMA_GUARANTEED; policy++)
        has_policy = strcmp(text + length + 1, qy_policy_name(policy)) == 0;
    snprintf(region, bytes, "%" PRIu64 "%s", parse_size(size), text + length);
    return length < sizeof(size) && has_policy && parse_size(size) != 0;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    uint64_t size;
    switch (key) {
    case KEY_LIMIT:
        size = parse_size(argument);
        if (size == 0)
            argp_failure(state, EXIT_RUN_FAILED, 0, "--limit: '%s' is no size such as 512M or 2G",
                         argument);
        snprintf(request->limit, sizeof(request->limit), "%llu", (unsigned long long)size);
        return 0;
    case KEY_REPORT:
        request->report = argument;
        return 0;
    case KEY_CMA:
        if (!read_region(argument, request->cma, sizeof(request->cma)))
            argp_failure(state, EXIT_RUN_FAILED, 0,
                         "--cma: '%s' is no size such as 64M, or size and policy such as "
                         "64M,eager (linux, eager, guaranteed)",
                         argument);
        return 0;
    case KEY_JSON:
        request->json = true;
        return 0;
    case KEY_HARDEN:
        request->harden = true;
        return 0;
    case KEY_QUIET:
        request->quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        request->argv = &state->argv[state->next - 1];
        state->next = state->argc; /* the rest is the program's */
        return 0;
    case ARGP_KEY_END:
        if (request->argv == NULL)
            argp_failure(state, EXIT_RUN_FAILED, 0,
                         "run what? quarry run [OPTION...] -- PROGRAM...");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/** Beside this program, where it was installed, or where QUARRY_MALLOC_LIB says. */
static bool find_library(const char *name, char path[PATH_MAX])
{
    static const char *const places[] = {"", QUARRY_LIBDIR "/", "../lib/", "../lib/quarry/"};
    const char *given = getenv("QUARRY_MALLOC_LIB");
    char self[PATH_MAX], candidate[2 * PATH_MAX];
    if (given != NULL && *given != '\0')
        return realpath(given, path) != NULL;
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length <= 0)
        return false;
    self[length] = '\0';
    const char *folder = dirname(self);
    for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++) {
        snprintf(candidate, sizeof(candidate), "%s/%s%s", folder, places[p], name);
        if (realpath(candidate, path) != NULL)
            return true;
    }
    return false;
}

/** What the dynamic loader could not read out of LD_PRELOAD is refused here. */
static int check_library(const char *name, char path[PATH_MAX])
{
    if (!find_library(name, path)) {
        complain("%s is neither beside this program nor in its lib folder; QUARRY_MALLOC_LIB "
                 "may name it",
                 name);
        return EXIT_RUN_FAILED;
    }
    if (strpbrk(path, ": ") != NULL) {
        complain("%s: LD_PRELOAD cannot hold a path with a blank or a colon", path);
        return EXIT_RUN_FAILED;
    }
    return EXIT_OK;
}

static FILE *open_report(const struct request *request)
{
    if (request->report == NULL)
        return stderr;
    FILE *out = fopen(request->report, "we");
    if (out == NULL)
        complain("--report %s: %s", request->report, strerror(errno));
    return out;
}

static int run(const struct request *request, FILE *out)
{
    char library[PATH_MAX];
    bool whole = request->cma[0] != '\0' || program_needs(request->argv[0], WHOLE_LIBRARY);
    int status = check_library(whole ? WHOLE_LIBRARY : LIBRARY, library);
    struct collector *collector = status == EXIT_OK ? collector_open() : NULL;
    if (collector == NULL)
        return EXIT_RUN_FAILED;

    struct launch order = {
        .argv = request->argv,
        .library = library,
        .collector = collector,
        .limit = request->limit[0] == '\0' ? NULL : request->limit,
        .harden = request->harden,
        .cma = request->cma[0] == '\0' ? NULL : request->cma,
    };
    struct ending ending;
    struct reports reports;
    status = launch(&order, &ending);
    collector_close(collector, &reports);
    if (status == EXIT_OK) {
        status = ending.status;
        reports_complete(&reports, &ending);
        if (request->json && !request->quiet)
            summary_json(out, &reports, &ending, request->argv);
        else if (!request->quiet)
            summary_text(out, &reports, &ending, request->argv);
    }
    reports_free(&reports);
    return status;
}

int command_run(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"limit", KEY_LIMIT, "SIZE", 0,
         "Most memory that each process may take from Quarry: bytes, or 512M, 2G", 0},
        {"cma", KEY_CMA, "SIZE[,POLICY]", 0,
         "Reserve a contiguous region in each process, named default, and lend it out: linux, "
         "eager or guaranteed",
         0},
        {"report", KEY_REPORT, "FILE", 0, "Write the report there instead of stderr", 0},
        {"json", KEY_JSON, NULL, 0, "The report as JSON", 0},
        {"harden", KEY_HARDEN, NULL, 0, "Check every object for overruns and stale pointers", 0},
        {"quiet", KEY_QUIET, NULL, 0, "No report", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "[--] PROGRAM [ARGUMENT...]",
        .doc = "Run a program with Quarry as its malloc, and show at the end what memory it and "
               "the processes that it started had. The exit status is the program's; 128 + N "
               "when signal N killed it, 127 when there is no such program, 126 when it cannot "
               "be executed, 125 when Quarry itself failed.",
    };
    struct request request = {.argv = NULL};
    argp_err_exit_status = EXIT_RUN_FAILED;
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &request);

    FILE *out = open_report(&request);
    if (out == NULL)
        return EXIT_RUN_FAILED;
    int status = run(&request, out);
    if (out != stderr && fclose(out) != 0) {
        complain("--report %s: %s", request.report, strerror(errno));
        return EXIT_RUN_FAILED;
    }
    return status;
}
