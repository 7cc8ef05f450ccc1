/* obey.h - what the listener does at once when a thread of the program asks it.
 *
 * Runs in: the listener, in its handler, at any point of what it does otherwise. listener_obey and listener_look are in
 * listener.h, as what is served calls them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LISTENER_OBEY_H
#define PPROFSHIM_LISTENER_OBEY_H

/* Ends if the program has ended, follows its identity, and obeys. */
void obey_at_once(void);

/* Obeys alone: while the listener waits for the end of a change of identity. */
void obey_asked(void);

#endif
