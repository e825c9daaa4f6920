/*
 * logic.c - minimising logic: lists of bit sets that are split, complemented and joined
 *
 * Stands for optimisers and compilers that build and drop many short lists (espresso is the
 * classic). The complement of a random cover is found by splitting on a variable, again and again;
 * each level makes new lists and new sets, and drops the old ones. Sets are 16 bytes plus a link;
 * lists die last-in first-out by the dozen or thousand. All bytes are written and read.
 *
 *   logic COUNT VARIABLES CUBES     an operation is one cover complemented and checked
 */
#include "bench.h"

/* A product term: variables that must be true, and that must be false. */
struct cube {
    uint64_t yes, no;
};

struct cover {
    size_t n, room;
    struct cube **cubes;
};

static struct cover *cover_new(void)
{
    struct cover *c = take(sizeof(*c));
    *c = (struct cover){0};
    return c;
}

static void cover_add(struct cover *c, uint64_t yes, uint64_t no)
{
    if (c->n == c->room) {
        c->room = c->room ? 2 * c->room : 4;
        c->cubes = realloc(c->cubes, c->room * sizeof(*c->cubes));
        if (!c->cubes)
            die("out of memory");
    }
    struct cube *cube = take(sizeof(*cube));
    *cube = (struct cube){yes, no};
    c->cubes[c->n++] = cube;
}

static void cover_free(struct cover *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->cubes[i]);
    free(c->cubes);
    free(c);
}

/* The cover with variable v fixed: cubes that need the opposite vanish, the others forget v. */
static struct cover *cofactor(const struct cover *c, uint64_t v, int positive)
{
    struct cover *result = cover_new();
    for (size_t i = 0; i < c->n; i++)
        if (!((positive ? c->cubes[i]->no : c->cubes[i]->yes) & v))
            cover_add(result, c->cubes[i]->yes & ~v, c->cubes[i]->no & ~v);
    return result;
}

/* The variable that most cubes mention, or 0 when a cube is always true. */
static uint64_t busiest(const struct cover *c, unsigned variables)
{
    unsigned best = 0;
    uint64_t which = 1;
    for (size_t i = 0; i < c->n; i++)
        if (!(c->cubes[i]->yes | c->cubes[i]->no))
            return 0;
    for (unsigned k = 0; k < variables; k++) {
        unsigned n = 0;
        for (size_t i = 0; i < c->n; i++)
            n += (c->cubes[i]->yes | c->cubes[i]->no) >> k & 1;
        if (n > best) {
            best = n;
            which = 1ull << k;
        }
    }
    return which;
}

static struct cover *complement(const struct cover *c, unsigned variables)
{
    struct cover *result = cover_new();
    if (c->n == 0) {
        cover_add(result, 0, 0);
        return result;
    }
    uint64_t v = busiest(c, variables);
    if (!v)
        return result;
    for (int positive = 0; positive < 2; positive++) {
        struct cover *half = cofactor(c, v, positive);
        struct cover *rest = complement(half, variables);
        for (size_t i = 0; i < rest->n; i++)
            cover_add(result, rest->cubes[i]->yes | (positive ? v : 0),
                      rest->cubes[i]->no | (positive ? 0 : v));
        cover_free(rest);
        cover_free(half);
    }
    return result;
}

int main(int argc, char **argv)
{
    uint64_t count = arg_count(argc, argv, 1, 200), rng = 2718281828u, sum = 0;
    unsigned variables = (unsigned)arg(argc, argv, 2, 12), cubes = (unsigned)arg(argc, argv, 3, 40);
    uint64_t all = (1ull << variables) - 1;

    struct stopwatch start = stopwatch_start();
    for (uint64_t i = 0; i < count; i++) {
        struct cover *on = cover_new();
        for (unsigned k = 0; k < cubes; k++) {
            uint64_t used = rng_next(&rng) & rng_next(&rng) & all, sign = rng_next(&rng);
            cover_add(on, used & sign, used & ~sign);
        }
        struct cover *off = complement(on, variables);
        for (size_t a = 0; a < off->n; a++) {
            sum = sum * 31 + off->cubes[a]->yes * 3 + off->cubes[a]->no;
            for (size_t b = 0; b < on->n; b++)
                if (!((off->cubes[a]->yes & on->cubes[b]->no) |
                      (off->cubes[a]->no & on->cubes[b]->yes)))
                    die("the complement overlaps the cover");
        }
        cover_free(off);
        cover_free(on);
    }
    report_ns("logic", start, count, sum);
    return 0;
}
