/* functions.h - addresses of functions by their names in symbol tables.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_FUNCTIONS_H
#define PPROFSHIM_FUNCTIONS_H

#include "encoder/symbolize/elf/elf_file.h"

struct functions;

/* List the functions of a file, which must outlive the list. NULL: no memory. */
struct functions *functions_open(const struct elf_file *f);
void functions_close(struct functions *list); /* NULL: nothing */

/* Returns the address that the file's headers give the one function with this name; 0: there is none, or several
 * have it. */
uint64_t functions_find(const struct functions *list, const char *name);

#endif
