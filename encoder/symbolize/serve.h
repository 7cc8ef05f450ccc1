/* serve.h - the listener's helper: a request from one pipe, its answer to the other (protocol.h).
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SERVE_H
#define PPROFSHIM_SERVE_H

/* Undo what a child of the listener inherits: blocked signals, an ignored SIGPIPE, closed descriptors. Also end this
 * process after ten minutes at the latest. */
void serve_prepare(void);

/* Read the request from `in` to its end, and write answers to `out` as they come. Any bytes are a request: lines that
 * are not of the protocol are skipped. Returns 0, or a negative errno: reading or writing failed. */
int serve(int in, int out);

/* Give up all privileges before anything is read that may be hostile. */
void serve_shed_powers(void);

#endif
