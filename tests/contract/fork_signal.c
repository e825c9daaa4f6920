/*
 * If this failed: a program that forks in a signal handler, perhaps in the middle of a malloc,
 * would hang in the parent or in the child.
 */
#include "fork_signal.h"

int main(void)
{
    deadline(60);
    fork_from_signals(150);
    return 0;
}
