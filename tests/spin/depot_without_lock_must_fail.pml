/*
 * depot_without_lock_must_fail.pml - the depot without the cache's lock
 *
 * Wrong if spin found no error here: depot.pml could not tell a right depot from a wrong one.
 */
#define NO_LOCK
#include "depot.pml"
