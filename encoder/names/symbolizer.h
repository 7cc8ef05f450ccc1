/* symbolizer.h - the helper program pprofshim-symbolize, asked by the listener: files, lines, inlines, demangled names.
 *
 * Runs in: listener; never waits: the helper works while the listener serves others.
 *
 *   symbolizer_queue ─► the helper runs ─► symbolizer_poll … takes what it said so far into the cache ─► it has ended
 *
 * One helper at a time: who asks while one runs has his questions put to the next, together with those of all others
 * who wait. What goes wrong (absent, forbidden, killed, crashed, silent) is remembered, so that it is not tried again
 * at once, and can be told.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SYMBOLIZER_H
#define PPROFSHIM_SYMBOLIZER_H

#include <stdbool.h>

#include "encoder/encoder.h"
#include "encoder/names/cache.h"

/* Addresses of one object that are wanted. */
struct question {
	const struct module *module;
	const char *path;        /* where its file can be opened */
	const uint64_t *address; /* as the file's headers count, ascending */
	size_t count;
};

/* Could it be asked now about this object? */
bool symbolizer_would_answer(const struct object *o);

/* Start a helper with these questions; what they point to may go. 0, or a negative errno: it can't be had. None may
 * run. */
int symbolizer_ask(const struct question *q, size_t count);

/* The same, after the helper that runs. A ticket to ask with whether all is said; 0: no memory. */
uint64_t symbolizer_queue(const struct question *q, size_t count);
bool symbolizer_is_done(uint64_t ticket);

/* Take what the helper has said into the cache; start the next one when it has ended and somebody waits. True: one
 * runs. */
bool symbolizer_poll(void);

/* A request could not wait for it any longer: that is the trouble until it has ended. */
void symbolizer_is_late(void);
bool symbolizer_was_late(void);

/* Of the names found so far, for people: why they are less than they could be; NULL: all is well. */
const char *symbolizer_trouble(void);

/* Where the helper is: as the options say, else beside the library. Before it is asked. */
void symbolizer_locate(const struct maps *maps);

/* As struct encoder_options says. In a fork child: the parent's helper is not ours. */
void symbolizer_start(const struct encoder_options *options);

#endif
