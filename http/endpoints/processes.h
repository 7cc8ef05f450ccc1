/* processes.h - the processes behind the door: their table, for people and for programs.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PROCESSES_H
#define PPROFSHIM_PROCESSES_H

#include "encoder/encoder.h"
#include "http/server/exchange.h"

/* Ask all processes how they are, and call done when they have answered; those that have not within a third of a second
 * do without. */
void processes_ask(struct exchange *x, void (*done)(struct exchange *x));

/* Write the table into a page. The first link is that of the one child, if we are a shell that waits for it. */
void processes_table(struct region *r, struct out *o);

/* /pid/: the same as JSON. */
void processes_answer_json(struct exchange *x);

/* /pid/…: answer, or pass on to the process. path: behind "/pid/", as sent. itself: answers for a page of this process,
 * by its name below /debug/pprof/. */
void processes_answer(struct exchange *x, struct span path, void (*itself)(struct exchange *x, struct span name));

#endif
