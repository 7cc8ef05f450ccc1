/* object.h - what kind of thing a thread waits for.
 *
 * Runs in: everywhere; a type alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_OBJECT_H
#define PPROFSHIM_OBJECT_H

/* DUMP_FDS: several descriptors; the object is their number. */
enum dump_object { DUMP_NO_OBJECT, DUMP_ADDRESS, DUMP_FD, DUMP_TID, DUMP_PID, DUMP_FDS };

#endif
