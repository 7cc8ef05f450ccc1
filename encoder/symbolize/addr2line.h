/* addr2line.h - lines of addresses for users and their scripts, as addr2line -i of GNU binutils prints them.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ADDR2LINE_H
#define PPROFSHIM_ADDR2LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "encoder/symbolize/dwarf/lookup.h"

/* The options of addr2line with these letters. */
struct by_hand {
	bool addresses;  /* -a */
	bool demangle;   /* -C */
	bool functions;  /* -f */
	bool pretty;     /* -p */
	bool base_names; /* -s */
};

/* Parse a hexadecimal number, with or without "0x". False: the text is something else. */
bool by_hand_parse(const char *text, uint64_t *address);

/* Print what is known of the addresses, in their order. False: no memory. */
bool by_hand_print(const struct by_hand *how, struct object *o, const uint64_t *addresses, size_t count, FILE *out);

/* Answer each line of `in`, which begins with an address. A line without one counts as address 0, so that every line
 * has an answer. Lines are answered at once, as the other side may wait for that. Returns 0, or a negative errno. */
int by_hand_lines(const struct by_hand *how, struct object *o, int in, FILE *out);

#endif
