/* symbolizer.h - the helper program pprofshim-symbolize, asked by the listener: files, lines, inlines, demangled names.
 *
 * Runs in: listener; never waits: the helper works while the listener serves others.
 *
 *   symbolizer_queue ─► the helper runs ─► symbolizer_poll … takes its answers so far into the cache ─► it has ended
 *
 * One helper runs at a time. Questions that come meanwhile wait, and go to the next helper all together. A failure
 * (the helper is absent, forbidden, killed, crashed or silent) is remembered: the listener can report it, and does not
 * try again at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SYMBOLIZER_H
#define PPROFSHIM_SYMBOLIZER_H

#include <stdbool.h>

#include "encoder/encoder.h"
#include "encoder/names/cache.h"

/* Addresses of one object to look up. */
struct question {
	const struct module *module;
	const char *path;        /* where its file can be opened */
	const uint64_t *address; /* as the file's headers count, ascending */
	size_t count;
};

/* May the helper be asked about this object now? */
bool symbolizer_would_answer(const struct object *o);

/* Start a helper with these questions, which it copies. No helper may be running. Nothing is waited for: what becomes
 * of it, symbolizer_poll finds.
 * Returns 0, or a negative errno: no process could be had for it. */
int symbolizer_ask(const struct question *q, size_t count);

/* The same, but if a helper runs, the questions wait until it has ended.
 * Returns a ticket for symbolizer_is_done, which tells when all is answered; 0: no memory. */
uint64_t symbolizer_queue(const struct question *q, size_t count);
bool symbolizer_is_done(uint64_t ticket);

/* Take the helper's answers into the cache. If it has ended and questions wait, start the next one.
 * Returns true if a helper runs. */
bool symbolizer_poll(void);

/* The same, after each round of the listener's loop.
 * Returns in how many milliseconds to call again; 0: not needed. */
unsigned symbolizer_rest_ms(void);

/* Start the helper program with other words, as many as are not NULL, and a socket as its standard input and output. It
 * is ended after life_s seconds; until it has ended, questions wait.
 * Returns 0; -EAGAIN: it is at work, ask again soon; or another negative errno: it cannot be had. */
enum { SYMBOLIZER_WORDS = 3 };
int symbolizer_lend(char *const words[SYMBOLIZER_WORDS], int fd, unsigned life_s);

/* A request gave up waiting for the helper: symbolizer_trouble says so until the helper has ended. */
void symbolizer_is_late(void);
bool symbolizer_was_late(void);

/* Returns why names are missing or poor, for users; NULL: all is well. */
const char *symbolizer_trouble(void);

/* Find the helper: where the options say, else beside the library. Call it before the first question. */
void symbolizer_locate(const struct maps *maps);

/* Begin with these options. A fork child forgets the parent's helper here. */
void symbolizer_start(const struct encoder_options *options);

#endif
