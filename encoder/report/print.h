/* print.h - reports as text: the table, a call tree, folded stacks, JSON.
 *
 * Runs in: pprofshim. Names come from a program that may be hostile: no control character of theirs is written.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PRINT_H
#define PPROFSHIM_PRINT_H

#include <stdbool.h>
#include <stdio.h>

#include "encoder/report/table.h"

/* The table for people. `columns`: lines are cut off there; 0: they are not. */
void print_table(FILE *out, const struct table *t, const char *row_word, unsigned columns);

/* The table for programs: one object. Numbers are in t->of. */
void print_json(FILE *out, const struct table *t);

/* The stacks with their values, from the root: "main;work;malloc 4096". Values of equal stacks are one. */
bool print_folded(FILE *out, const Pprof__Profile *p, size_t type);

/* The stacks as a tree from the roots, largest branches first; branches of less than that part of all are left out.
 * Returns false: there is no memory. */
bool print_tree(FILE *out, const Pprof__Profile *p, const struct table_options *o, unsigned columns);

/* A name without control characters and what turns the direction of text, at most `columns` (0: any) characters. */
void print_name(FILE *out, const char *name, unsigned columns);

/* A string of JSON, in quotes. */
void print_json_string(FILE *out, const char *text);

#endif
