/* addr2line.h - lines of addresses for people and their scripts, as addr2line -i of GNU binutils prints them.
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

/* addr2line's options of these letters. */
struct by_hand {
	bool addresses;  /* -a */
	bool demangle;   /* -C */
	bool functions;  /* -f */
	bool pretty;     /* -p */
	bool base_names; /* -s */
};

/* A hexadecimal number, "0x" in front or not, and nothing else. */
bool by_hand_parse(const char *text, uint64_t *address);

/* What is known of the addresses, in their order. False: there is no memory. */
bool by_hand_print(const struct by_hand *how, struct object *o, const uint64_t *addresses, size_t count, FILE *out);

/* Of a number at the beginning of each line of `in`. A line without one is address 0: each gets its answer. Lines are
 * answered as soon as they are there, as who asks may wait for that. 0, or a negative errno. */
int by_hand_lines(const struct by_hand *how, struct object *o, int in, FILE *out);

#endif
