/*
 * main.c - the program `quarry`: finds the command and hands over
 */
#include "tool.h"

#include <quarry/linux.h>

#include <argp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"run", command_run, "run a program on Quarry and show its memory at the end"},
    {"show", command_show, "buddyinfo, slabinfo ... of a process or of this machine"},
    {"top", command_top, "the same, live"},
};
enum {
    nr_commands = sizeof(commands) / sizeof(commands[0])
};

/** argp's own, found by the dynamic linker. */
extern QY_API const char *argp_program_version;
const char *argp_program_version = "quarry " QUARRY_VERSION;

static char complaint[512]; /* "": none is being kept */
static bool keep_complaint;

void complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(complaint, sizeof(complaint), format, arguments);
    va_end(arguments);
    make_plain(complaint);
    if (!keep_complaint)
        complain_later(false);
}

void complain_later(bool later)
{
    keep_complaint = later;
    if (!later && complaint[0] != '\0') {
        fprintf(stderr, "quarry: %s\n", complaint);
        complaint[0] = '\0';
    }
}

/** How many letters must be changed, added or left out; two neighbours swapped count once. */
static size_t distance(const char *one, const char *other)
{
    enum {
        LONGEST = 32
    };
    size_t rows = strnlen(one, LONGEST), columns = strnlen(other, LONGEST);
    size_t cost[LONGEST + 1][LONGEST + 1];
    for (size_t r = 0; r <= rows; r++) {
        for (size_t c = 0; c <= columns; c++) {
            if (r == 0 || c == 0) {
                cost[r][c] = r + c;
                continue;
            }
            size_t best = cost[r - 1][c - 1] + (one[r - 1] != other[c - 1]);
            size_t shorter = cost[r - 1][c] + 1, longer = cost[r][c - 1] + 1;
            best = shorter < best ? shorter : best;
            best = longer < best ? longer : best;
            if (r > 1 && c > 1 && one[r - 1] == other[c - 2] && one[r - 2] == other[c - 1] &&
                cost[r - 2][c - 2] + 1 < best)
                best = cost[r - 2][c - 2] + 1;
            cost[r][c] = best;
        }
    }
    return cost[rows][columns];
}

const char *nearest(const char *word, const char *const *names, size_t count)
{
    const char *found = NULL;
    size_t least = 3; /* further off, or half of its letters, is another word, not a slip */
    for (size_t n = 0; n < count; n++) {
        size_t letters = distance(word, names[n]);
        if (letters < least && 2 * letters < strlen(names[n])) {
            least = letters;
            found = names[n];
        }
    }
    return found;
}

static const struct command *find_command(const char *name)
{
    const char *names[nr_commands + 1] = {[nr_commands] = "help"};
    for (size_t c = 0; c < nr_commands; c++) {
        if (strcmp(name, commands[c].name) == 0)
            return &commands[c];
        names[c] = commands[c].name;
    }
    const char *meant = nearest(name, names, nr_commands + 1);
    if (meant != NULL)
        complain("there is no command '%s'; did you mean '%s'?", name, meant);
    else
        complain("there is no command '%s'; 'quarry --help' lists them", name);
    return NULL;
}

char *help_with_list(int key, const char *text, void (*list)(FILE *out))
{
    char *help = NULL;
    size_t bytes;
    FILE *out = key == ARGP_KEY_HELP_POST_DOC ? open_memstream(&help, &bytes) : NULL;
    if (out == NULL)
        return (char *)text;
    list(out);
    fclose(out);
    return help;
}

static void list_commands(FILE *out)
{
    fputs("Commands:\n", out);
    for (size_t c = 0; c < nr_commands; c++)
        fprintf(out, "  %-6s %s\n", commands[c].name, commands[c].summary);
    fputs("\n'quarry COMMAND --help' says more, and quarry(1) all.\n", out);
}

static char *command_list(int key, const char *text, void *input)
{
    (void)input;
    return help_with_list(key, text, list_commands);
}

struct choice {
    int next; /* index of the command in argv */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    (void)argument;
    struct choice *choice = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        choice->next = state->next - 1;
        state->next = state->argc; /* the rest is the command's */
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_state_help(state, stderr, ARGP_HELP_STD_HELP & ~ARGP_HELP_EXIT_OK);
        exit(EXIT_USAGE);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int hand_over(const struct command *command, int argc, char **argv)
{
    char name[64];
    snprintf(name, sizeof(name), "quarry %s", command->name);
    argv[0] = name;
    return command->main(argc, argv);
}

static error_t parse_help(int key, char *argument, struct argp_state *state)
{
    (void)argument;
    if (key != 'h')
        return ARGP_ERR_UNKNOWN;
    argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
    return 0;
}

static const struct argp_option help_options[] = {
    {NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0},
    {0},
};
static const struct argp help_argp = {.options = help_options, .parser = parse_help};
const struct argp_child short_help[] = {{&help_argp, 0, NULL, 0}, {0}};

static const struct argp front = {
    .parser = parse,
    .children = short_help,
    .args_doc = "COMMAND [ARGUMENT...]",
    .doc = "Run programs on Quarry's memory, and see where memory is.\v",
    .help_filter = command_list,
};

static int help_on(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "help") == 0) {
        argp_help(&front, stdout, ARGP_HELP_STD_HELP, (char *)"quarry");
        return EXIT_OK;
    }
    const struct command *command = find_command(argv[1]);
    if (command == NULL)
        return EXIT_USAGE;
    char *help[] = {NULL, (char *)"--help", NULL};
    return hand_over(command, 2, help);
}

int output_failure = EXIT_FAILED;

/** What could not be written is no success, whoever wrote it. */
static void check_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return;
    complain("standard output: %s", strerror(errno));
    _exit(output_failure);
}

int main(int argc, char **argv)
{
    struct choice choice = {0};
    atexit(check_output);
    argp_err_exit_status = EXIT_USAGE;
    argv[0] = (char *)"quarry";
    argp_parse(&front, argc, argv, ARGP_IN_ORDER, NULL, &choice);

    argc -= choice.next;
    argv += choice.next;
    if (strcmp(argv[0], "help") == 0)
        return help_on(argc, argv);
    const struct command *command = find_command(argv[0]);
    return command == NULL ? EXIT_USAGE : hand_over(command, argc, argv);
}
