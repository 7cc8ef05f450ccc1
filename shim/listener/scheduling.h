/* scheduling.h - the listener and the visitor are ordinary, whatever the scheduling of the thread that starts them.
 *
 * Runs in: init; app's thread that starts one of them, in our handler too; listener; visitor.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SCHEDULING_H
#define PPROFSHIM_SCHEDULING_H

#include <stdbool.h>

/* Init: remembers on which processors the process may run. */
void scheduling_start(void);

/* Around the start of one. A thread of the class SCHED_DEADLINE cannot have children, unless they start in the
 * ordinary class. App's thread.
 * Returns true if something was changed, which scheduling_take_back has to undo. */
bool scheduling_lend(void);
void scheduling_take_back(bool lent);

/* Makes the caller neither real-time nor bound to its starter's processor. A real-time thread that never waits would
 * leave it none. Listener, visitor. */
void scheduling_be_ordinary(void);

#endif
