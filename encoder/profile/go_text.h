/* go_text.h - names, files and states as the readers of Go's dumps accept them.
 *
 * Runs in: listener. No allocation.
 *
 * The readers are gostackparse and panicparse; encoder/FORMATS.md has the grammar. In the line of a function each '('
 * is closed before the next one opens; each '%' escapes something; each '/' has a '.' after it. No line is over 64 KiB.
 * A state ends at a ',' or ']'. A file is followed by the first ':' with a digit behind it, and ends in .go, .c or .s.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_GO_TEXT_H
#define PPROFSHIM_GO_TEXT_H

#include "encoder/bytes/out.h"

/* Write the name of a function. Characters at which readers stop are replaced: brackets within parentheses,
 * look-alikes. */
void go_text_function(struct out *o, struct span name);

/* Write the state of a thread, for its header. */
void go_text_state(struct out *o, struct span state);

/* Write "file:line". A file of another language than Go's tools know is followed by " .c:line": with that panicparse
 * reads on, and all others see the file and its line before. */
void go_text_place(struct out *o, struct span file, uint32_t line);

#endif
