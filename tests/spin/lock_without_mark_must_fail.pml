/*
 * lock_without_mark_must_fail.pml - a waiter sleeps without telling the holder
 *
 * Wrong if spin found no error here: lock.pml could not tell a lost wake-up.
 */
#define MARK_LOST
#include "lock.pml"
