/* serve.h - the listener's helper: a request from one pipe, its answer to the other (protocol.h).
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SERVE_H
#define PPROFSHIM_SERVE_H

/* Undo what a listener's child inherits: blocked signals, an ignored SIGPIPE, closed descriptors. Nothing of it lasts
 * longer than ten minutes. */
void serve_prepare(void);

/* Read the request from `in` to its end, write the answer to `out` as it comes. Any bytes are a request; what is no
 * line of the protocol is passed over. 0, or a negative errno: it could not be read or answered. */
int serve(int in, int out);

#endif
