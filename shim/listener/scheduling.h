/* scheduling.h - the listener runs as an ordinary process, whatever the scheduling of the thread that starts it.
 *
 * Runs in: init; app's thread that starts the listener; listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SCHEDULING_H
#define PPROFSHIM_SCHEDULING_H

#include <stdbool.h>

/* Init: remembers on which processors the process may run. */
void scheduling_start(void);

/* Around the start of the listener. A thread of the class SCHED_DEADLINE cannot have children, unless they start in the
 * ordinary class. App's thread.
 * Returns true if something was changed, which scheduling_take_back has to undo. */
bool scheduling_lend(void);
void scheduling_take_back(bool lent);

/* Makes the listener neither real-time nor bound to its starter's processor. Listener. */
void scheduling_be_ordinary(void);

#endif
