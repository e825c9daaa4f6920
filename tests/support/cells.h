/*
 * cells.h - lines that one thread writes and others read, while memory moves under them
 *
 * The writer raises turn, fills the line, and raises turn again: a reader who finds it even and
 * unchanged has seen one turn whole. The writer alone knows how far each cell is.
 */
#ifndef QUARRY_TESTS_CELLS_H
#define QUARRY_TESTS_CELLS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cell {
    _Atomic uint64_t turn;
    _Atomic uint64_t word[7];
};

/** The next turn of cell number @at. @told: its last, by its writer; a cell that says otherwise has
 *  lost a write, which fails the test. */
void cell_write(struct cell *cell, size_t at, uint64_t *told);

/** False: it is just being written. A torn one fails the test; one never written is all zero. */
bool cell_read(struct cell *cell, size_t at);

#endif
