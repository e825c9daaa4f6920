/*
 * factor.c - number theory with a fresh heap cell for every number
 *
 * Stands for interpreters and algebra systems whose values are small heap cells (cfrac is the
 * classic): the continued fraction of sqrt(N) gives pairs (A, Q) with A^2 = Q mod N, and each Q is
 * divided by small primes. Each result is a new cell of 16 or 32 bytes, written whole, and dead
 * after one or two uses; a few pairs stay.
 *
 *   factor TERMS     an operation is one term of the continued fraction (about 125 cells)
 */
#include "bench.h"

typedef unsigned __int128 wide;

/* A number: one 64-bit limb if it fits, else two. */
struct cell {
    uint32_t refs, limbs;
    uint64_t limb[];
};

static struct cell *cell(wide value)
{
    uint32_t limbs = value >> 64 ? 2 : 1;
    struct cell *c = take(sizeof(*c) + limbs * sizeof(c->limb[0]));
    c->refs = 1;
    c->limbs = limbs;
    c->limb[0] = (uint64_t)value;
    if (limbs == 2)
        c->limb[1] = (uint64_t)(value >> 64);
    return c;
}

static wide value(const struct cell *c)
{
    return c->limbs == 2 ? (wide)c->limb[1] << 64 | c->limb[0] : c->limb[0];
}

static struct cell *hold(struct cell *c)
{
    c->refs++;
    return c;
}

static void drop(struct cell *c)
{
    if (!--c->refs)
        free(c);
}

/* Each gives a new cell and drops both operands. */
#define OPERATION(name, expression)                                                                \
    static struct cell *name(struct cell *a, struct cell *b)                                       \
    {                                                                                              \
        wide x = value(a), y = value(b);                                                           \
        struct cell *result = cell(expression);                                                    \
        drop(a);                                                                                   \
        drop(b);                                                                                   \
        return result;                                                                             \
    }
OPERATION(add, x + y)
OPERATION(subtract, x - y)
OPERATION(multiply, x *y)
OPERATION(divide, x / y)
OPERATION(remainder_of, x % y)

static wide root(wide n)
{
    wide r = 0;
    for (wide bit = (wide)1 << 62; bit; bit >>= 1)
        if ((r | bit) * (r | bit) <= n)
            r |= bit;
    return r;
}

/* What is left of q after dividing by the first primes. */
static struct cell *sieve(struct cell *q)
{
    static const unsigned primes[] = {2,  3,  5,  7,  11, 13, 17, 19, 23, 29,
                                      31, 37, 41, 43, 47, 53, 59, 61, 67, 71};
    for (unsigned i = 0; i < sizeof(primes) / sizeof(*primes); i++)
        for (;;) {
            struct cell *rest = remainder_of(hold(q), cell(primes[i]));
            int divides = value(rest) == 0 && value(q) != 0;
            drop(rest);
            if (!divides)
                break;
            q = divide(q, cell(primes[i]));
        }
    return q;
}

int main(int argc, char **argv)
{
    uint64_t terms = arg_count(argc, argv, 1, 100000), sum = 0;
    struct cell *n = cell(((wide)65521 << 64) + 0x9E3779B97F4A7C15ull);
    struct cell *g = cell(root(value(n)));
    struct cell *p = cell(0), *q = cell(1), *quotient = hold(g), *before = cell(1), *a = hold(g);
    struct cell *kept[512] = {0};

    struct stopwatch start = stopwatch_start();
    for (uint64_t i = 0; i < terms; i++) {
        p = subtract(multiply(hold(quotient), hold(q)), p);
        q = divide(subtract(hold(n), multiply(hold(p), hold(p))), q);
        drop(quotient);
        quotient = divide(add(hold(g), hold(p)), hold(q));
        struct cell *next = remainder_of(add(multiply(hold(quotient), hold(a)), before), hold(n));
        before = a;
        a = next;
        struct cell *left = sieve(hold(q));
        sum = sum * 31 + (uint64_t)value(left) + (uint64_t)value(a);
        if (value(left) < 100000) {
            struct cell **place = &kept[sum % 512];
            if (*place)
                drop(*place);
            *place = hold(a);
        }
        drop(left);
    }
    report_ns("factor", start, terms, sum);
    return 0;
}
