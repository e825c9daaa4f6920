/*
 * cells.c - see cells.h
 */
#include "cells.h"

#include "support.h"

/** A cell that was never written is all zero. */
static uint64_t word_of(size_t at, uint64_t turn, unsigned i)
{
    return turn == 0 ? 0 : (at * 0x9e3779b97f4a7c15u) ^ (turn * 0xbf58476d1ce4e5b9u) ^ i;
}

void cell_write(struct cell *cell, size_t at, uint64_t *told)
{
    uint64_t turn = atomic_load_explicit(&cell->turn, memory_order_relaxed);
    if (turn != *told)
        test_fail("cell %zu: a write was lost: %llu, not %llu", at, (unsigned long long)turn,
                  (unsigned long long)*told);
    atomic_store_explicit(&cell->turn, turn + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (unsigned i = 0; i < 7; i++)
        atomic_store_explicit(&cell->word[i], word_of(at, turn + 2, i), memory_order_relaxed);
    atomic_store_explicit(&cell->turn, turn + 2, memory_order_release);
    *told = turn + 2;
}

bool cell_read(struct cell *cell, size_t at)
{
    uint64_t word[7];
    uint64_t turn = atomic_load_explicit(&cell->turn, memory_order_acquire);
    for (unsigned i = 0; i < 7; i++)
        word[i] = atomic_load_explicit(&cell->word[i], memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    if (turn % 2 == 1 || atomic_load_explicit(&cell->turn, memory_order_relaxed) != turn)
        return false;
    for (unsigned i = 0; i < 7; i++)
        if (word[i] != word_of(at, turn, i))
            test_fail("cell %zu, turn %llu: word %u is torn", at, (unsigned long long)turn, i);
    return true;
}
