/*
 * drain_without_barrier_must_fail.pml - the drain without its heavy barrier
 *
 * Wrong if spin found no error here: drain.pml could not tell a right drain from a wrong one.
 */
#define NO_HEAVY_BARRIER
#include "drain.pml"
