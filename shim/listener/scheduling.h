/* scheduling.h - the listener runs as an ordinary process does, wherever the thread that starts it runs.
 *
 * Runs in: init; app's thread that starts the listener; listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SCHEDULING_H
#define PPROFSHIM_SCHEDULING_H

#include <stdbool.h>

/* Init: on which processors the process was allowed to run. */
void scheduling_start(void);

/* Around the birth: threads of the class SCHED_DEADLINE have no children but such as start in the class of others.
 * Returns whether something was changed that scheduling_take_back has to change back. App's thread. */
bool scheduling_lend(void);
void scheduling_take_back(bool lent);

/* Neither real-time nor bound to the starter's processor. Listener. */
void scheduling_be_ordinary(void);

#endif
