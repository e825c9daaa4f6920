/*
 * quarry_pte.h - the format of page table entries: no processor reads them here
 */
#ifndef QUARRY_PTE_H
#define QUARRY_PTE_H

#include "space/soft_pte.h"

#endif
