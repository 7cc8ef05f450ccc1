/* status.h - how this process is: what a row of the table of processes tells.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DOOR_STATUS_H
#define PPROFSHIM_DOOR_STATUS_H

#include "http/door/protocol.h"

/* Fill in a message, its head too. What /proc does not tell stays 0. */
void status_take(union protocol_message *m);

/* Returns the pid of the program's parent; 0: not known. */
int status_parent(void);

/* Returns the pid of the parent of another process; 0: not known. */
int status_parent_of(int pid);

#endif
