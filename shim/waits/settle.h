/* settle.h - wait until all signals of ours have been taken.
 *
 * Runs in: listener, in its handler too.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SETTLE_H
#define PPROFSHIM_SETTLE_H

/* Waits until no thread of the program has a signal of ours pending or is in our handler, for at most 1.5 s; not at all
 * if no signal was ever sent. The caller has seen to it that none is sent any more. */
void settle_signals(void);

#endif
