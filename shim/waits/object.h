/* object.h - what kind of thing a thread waits for.
 *
 * Runs in: everywhere; a type alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_OBJECT_H
#define PPROFSHIM_OBJECT_H

enum dump_object { DUMP_NO_OBJECT, DUMP_ADDRESS, DUMP_FD, DUMP_TID, DUMP_PID };

#endif
