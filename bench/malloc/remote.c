/*
 * remote.c - one thread allocates, another frees
 *
 * Stands for a pipeline: a reader thread makes messages, a worker uses and drops them. The producer
 * writes 8 bytes of the block, the consumer reads them and frees it; blocks travel through a ring
 * in groups of 16, so the ring costs little. SIZE 0 sends the same traffic without malloc and free:
 * the floor.
 *
 *   remote SIZE COUNT RING TOUCH     an operation is one malloc, one hand-over, one free
 */
#include "bench.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define GROUP 16u

static struct {
    void **slots;
    uint64_t n;
    _Alignas(128) _Atomic uint64_t head; /* next to be read; written by the consumer */
    _Alignas(128) _Atomic uint64_t tail; /* next to be written; written by the producer */
} ring;

static size_t bytes;
static uint64_t count;
static enum touch how;
static uint64_t still[2];

static void wait_turn(unsigned *spins)
{
    if (++*spins < 2000)
        __builtin_ia32_pause();
    else
        sched_yield();
}

static void *produce(void *unused)
{
    uint64_t head = 0;
    for (uint64_t at = 0; at < count; at += GROUP) {
        unsigned spins = 0;
        while (at + GROUP - head > ring.n) {
            head = atomic_load_explicit(&ring.head, memory_order_acquire);
            if (at + GROUP - head > ring.n)
                wait_turn(&spins);
        }
        for (uint64_t i = at; i < at + GROUP; i++) {
            void *p = still;
            if (bytes) {
                p = take(bytes);
                touch(p, bytes, how, i);
            }
            ring.slots[i % ring.n] = p;
        }
        atomic_store_explicit(&ring.tail, at + GROUP, memory_order_release);
    }
    return unused;
}

static uint64_t consume(void)
{
    uint64_t sum = 0, tail = 0;
    for (uint64_t at = 0; at < count; at += GROUP) {
        unsigned spins = 0;
        while (tail == at) {
            tail = atomic_load_explicit(&ring.tail, memory_order_acquire);
            if (tail == at)
                wait_turn(&spins);
        }
        for (uint64_t i = at; i < at + GROUP; i++) {
            void *p = ring.slots[i % ring.n];
            sum += peek(p);
            if (bytes)
                free(p);
        }
        atomic_store_explicit(&ring.head, at + GROUP, memory_order_release);
    }
    return sum;
}

int main(int argc, char **argv)
{
    bytes = arg(argc, argv, 1, 64);
    count = arg_count(argc, argv, 2, 4000000) / GROUP * GROUP + GROUP;
    ring.n = arg(argc, argv, 3, 1024);
    how = arg_touch(argc, argv, 4);
    if (ring.n < GROUP || ring.n & (ring.n - 1))
        die("ring is a power of two of at least 16");
    ring.slots = take(ring.n * sizeof(*ring.slots));

    pthread_t producer;
    struct stopwatch start = stopwatch_start();
    if (pthread_create(&producer, NULL, produce, NULL))
        die("no thread");
    uint64_t sum = consume();
    pthread_join(producer, NULL);
    report_ns("remote", start, count, sum);
    return 0;
}
