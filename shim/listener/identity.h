/* identity.h - the listener's half of a change of identity; the program's half is in listener.h.
 *
 * Runs in: the listener, in its handler; in its loop if it is a thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LISTENER_IDENTITY_H
#define PPROFSHIM_LISTENER_IDENTITY_H

/* Takes on each identity that the program has had since, and waits while it changes. Ends the listener if it can't. */
void identity_follow(void);

/* The same for a listener that is a thread, whose identity the caller waits for. */
void identity_follow_in_thread(void);

#endif
