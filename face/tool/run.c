/*
 * run.c - `quarry run`: a program on Quarry, and its memory at the end
 */
#include "../malloc/settings.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
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
    KEY_CHECK,
    KEY_HARDEN,
    KEY_CMA,
    KEY_QUIET
};

struct request {
    char limit[24]; /* bytes, as text; "": none */
    const char *report;
    char cma[48]; /* bytes, and perhaps a policy; "": none */
    bool json, check, harden, quiet;
    char **argv; /* NULL: not given */
};

static bool read_region(const char *value, uint64_t *bytes)
{
    enum qy_cma_policy policy;
    return qy_setting_region(value, bytes, &policy);
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    uint64_t size = 0;
    switch (key) {
    case KEY_LIMIT:
        if (!qy_setting_bytes(argument, &size) || size == 0)
            argp_failure(state, EXIT_RUN_FAILED, 0, "--limit: '%s' is no size such as 512M or 2G",
                         argument);
        snprintf(request->limit, sizeof(request->limit), "%" PRIu64, size);
        return 0;
    case KEY_REPORT:
        request->report = argument;
        return 0;
    case KEY_CMA:
        if (!read_region(argument, &size) || size == 0)
            argp_failure(state, EXIT_RUN_FAILED, 0,
                         "--cma: '%s' is no size such as 64M, or size and policy such as "
                         "64M,eager (linux, eager, guaranteed)",
                         argument);
        snprintf(request->cma, sizeof(request->cma), "%" PRIu64 "%s", size,
                 argument + strcspn(argument, ","));
        return 0;
    case KEY_JSON:
        request->json = true;
        return 0;
    case KEY_CHECK:
        request->check = true;
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
    if (!library_is(path, name) && !library_is(path, WHOLE_LIBRARY)) {
        complain("%s is no %s", path, name);
        return EXIT_RUN_FAILED;
    }
    if (strpbrk(path, ": ") != NULL) {
        complain("%s: LD_PRELOAD cannot hold a path with a blank or a colon", path);
        return EXIT_RUN_FAILED;
    }
    return EXIT_OK;
}

/** The program reads them at its first malloc, which may never come. @library: that it gets. */
static int check_environment(const struct request *request, const char *library)
{
    const struct {
        const char *name, *expected;
        bool (*read)(const char *value, uint64_t *number);
        bool is_replaced; /* by an option */
    } settings[] = {
        {"QUARRY_LIMIT", QY_EXPECTED_BYTES, qy_setting_bytes, request->limit[0] != '\0'},
        {"QUARRY_CMA", QY_EXPECTED_REGION, read_region, request->cma[0] != '\0'},
        {"QUARRY_CHECK", QY_EXPECTED_SWITCH, qy_setting_switch, request->check},
        {"QUARRY_HARDEN", QY_EXPECTED_SWITCH, qy_setting_switch, request->harden},
        {"QUARRY_SAMPLE", QY_EXPECTED_INTERVAL, qy_setting_interval, false},
    };
    for (size_t s = 0; s < sizeof(settings) / sizeof(settings[0]); s++) {
        const char *value = getenv(settings[s].name);
        bool counts = value != NULL && *value != '\0' && !settings[s].is_replaced;
        uint64_t number;
        if (counts && !settings[s].read(value, &number)) {
            complain("%s=%s: expected %s", settings[s].name, value, settings[s].expected);
            return EXIT_RUN_FAILED;
        }
        if (counts && settings[s].read == read_region && !library_is(library, WHOLE_LIBRARY)) {
            complain("%s=%s: " WHOLE_LIBRARY " can do that, which --cma takes", settings[s].name,
                     value);
            return EXIT_RUN_FAILED;
        }
    }
    return EXIT_OK;
}

/** Where the report goes. What was there stays until there is one. */
struct sink {
    FILE *out;   /* NULL: it cannot be written, and that has been said */
    bool is_new; /* the file was not there before */
};

static struct sink open_report(const struct request *request)
{
    if (request->report == NULL || strcmp(request->report, "-") == 0)
        return (struct sink){.out = request->report == NULL ? stderr : stdout};
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC;
    int file = open(request->report, flags | O_EXCL, 0666);
    struct sink sink = {.is_new = file >= 0};
    if (file < 0)
        file = open(request->report, flags, 0666);
    sink.out = file < 0 ? NULL : fdopen(file, "w");
    if (sink.out == NULL)
        complain("--report %s: %s", request->report, strerror(errno));
    return sink;
}

/** @made: it was written to. False: it could not be, and that has been said. */
static bool close_report(const struct request *request, const struct sink *sink, bool made)
{
    if (sink->out == stderr || sink->out == stdout)
        return true;
    if (sink->is_new && !made)
        unlink(request->report);
    if (fclose(sink->out) == 0)
        return true;
    complain("--report %s: %s", request->report, strerror(errno));
    return false;
}

/** What must hold for each process, and cannot where Quarry is not loaded; NULL: nothing. */
static const char *promise(const struct request *request)
{
    return request->limit[0] != '\0' ? "--limit"
           : request->cma[0] != '\0' ? "--cma"
           : request->harden         ? "--harden"
           : request->check          ? "--check"
                                     : NULL;
}

/** A promise that can be seen to be none is not given. */
static int check_promise(const struct request *request)
{
    const char *option = promise(request);
    const char *why = option != NULL ? program_loads_nothing(request->argv[0]) : NULL;
    if (why == NULL)
        return EXIT_OK;
    complain("%s is %s: it does not load Quarry, and %s would not hold", request->argv[0], why,
             option);
    return EXIT_RUN_FAILED;
}

/** Did a process that was waited for have far more memory than any that reported? */
static bool outgrew_all(const struct reports *reports, const struct ending *ending)
{
    uint64_t slack_kb = 1024 + (uint64_t)ending->usage.ru_maxrss / 16;
    bool known = reports->unseen == 0;
    for (size_t r = 0; r < reports->count && known; r++) {
        const struct report *report = &reports->list[r];
        uint64_t late_kb = report->late_bytes / 1024; /* and what Quarry keeps beside it: */
        uint64_t peak_kb = report->process.usage.peak_rss_kb + late_kb + late_kb / 8;
        known = report->is_final || report->end == END_EXEC;
        if ((uint64_t)ending->usage.ru_maxrss <= peak_kb + slack_kb)
            return false;
    }
    return known;
}

/** What became of it in programs that were started later is said at least. */
static void complain_of_escape(const struct request *request, const struct reports *reports,
                               const struct ending *ending)
{
    const char *option = promise(request);
    bool escaped =
        reports->count == 0 ? ending->status != EXIT_RUN_FAILED : outgrew_all(reports, ending);
    bool unknown = false;
    for (size_t r = 0; r < reports->count; r++)
        unknown |= reports->list[r].left_silently;
    if (option != NULL && escaped)
        complain("a program that does not load Quarry was run (static? set-user-ID?): %s did not "
                 "hold for it",
                 option);
    else if (option != NULL && unknown)
        complain("a process ended without a word: if it had become a program that does not load "
                 "Quarry (static? set-user-ID?), %s did not hold for that",
                 option);
}

static void write_report(const struct request *request, const struct reports *reports,
                         const struct ending *ending, FILE *out)
{
    if (request->quiet)
        return;
    if (out != stderr && out != stdout && ftruncate(fileno(out), 0) != 0)
        errno = 0; /* no file, but a pipe or a device */
    if (request->json)
        summary_json(out, reports, ending, request->argv);
    else
        summary_text(out, reports, ending, request->argv);
}

static int run(const struct request *request, const char *library)
{
    output_failure = EXIT_RUN_FAILED; /* the report's, if it goes there */
    struct sink sink = open_report(request);
    struct collector *collector = sink.out != NULL ? collector_open() : NULL;
    if (collector == NULL && sink.out != NULL)
        close_report(request, &sink, false);
    if (collector == NULL)
        return EXIT_RUN_FAILED;
    struct launch order = {
        .argv = request->argv,
        .library = library,
        .collector = collector,
        .limit = request->limit[0] == '\0' ? NULL : request->limit,
        .check = request->check,
        .harden = request->harden,
        .cma = request->cma[0] == '\0' ? NULL : request->cma,
    };
    struct ending ending;
    struct reports reports;
    int status = launch(&order, &ending);
    bool has_run = status == EXIT_OK;
    collector_close(collector, &reports);
    if (has_run) {
        status = ending.status;
        reports_complete(&reports, &ending);
        complain_of_escape(request, &reports, &ending);
        write_report(request, &reports, &ending, sink.out);
    }
    reports_free(&reports);
    return close_report(request, &sink, has_run && !request->quiet) ? status : EXIT_RUN_FAILED;
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
        {"report", KEY_REPORT, "FILE", 0, "Write the report there instead of stderr; - is stdout",
         0},
        {"json", KEY_JSON, NULL, 0, "The report as JSON", 0},
        {"check", KEY_CHECK, NULL, 0, "Find every free of what is no block in use", 0},
        {"harden", KEY_HARDEN, NULL, 0, "Check every object for overruns and stale pointers", 0},
        {"quiet", KEY_QUIET, NULL, 0, "No report", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .children = short_help,
        .args_doc = "[--] PROGRAM [ARGUMENT...]",
        .doc = "Run a program with Quarry as its malloc, and show at the end what memory it and "
               "the processes that it started had. The exit status is the program's; 128 + N "
               "when signal N killed it, 127 when there is no such program, 126 when it cannot "
               "be executed, 125 when Quarry itself failed.",
    };
    struct request request = {.argv = NULL};
    argp_err_exit_status = EXIT_RUN_FAILED;
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &request);

    char library[PATH_MAX];
    bool whole = request.cma[0] != '\0' || program_needs(request.argv[0], WHOLE_LIBRARY);
    int status = check_promise(&request);
    if (status == EXIT_OK)
        status = check_library(whole ? WHOLE_LIBRARY : LIBRARY, library);
    if (status == EXIT_OK)
        status = check_environment(&request, library);
    return status == EXIT_OK ? run(&request, library) : status;
}
