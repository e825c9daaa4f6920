/*
 * last_of_all.h - a function that exit calls after the destructors of every library
 *
 * exit calls its handlers in the opposite order of their registration, and the destructors are
 * one of them: what is registered before constructors run is called after destructors.
 */
#ifndef QUARRY_TESTS_LAST_OF_ALL_H
#define QUARRY_TESTS_LAST_OF_ALL_H

#include "contract.h"

static void last_of_all(int status, void *unused);

static void register_last(int argc, char **argv, char **environment)
{
    (void)argc, (void)argv, (void)environment;
    on_exit(last_of_all, NULL);
}

__attribute__((section(".preinit_array"),
               used)) static void (*const last_hook)(int, char **, char **) = register_last;

#endif
