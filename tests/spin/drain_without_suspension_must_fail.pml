/*
 * drain_without_suspension_must_fail.pml - the drain of a slot whose owner a signal interrupted
 *
 * Wrong if spin found no error here: drain.pml could not tell that such a slot is left alone.
 */
#define SUSPENDED 0
#include "drain.pml"
