/* container.h - how much memory the container has left.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CONTAINER_H
#define PPROFSHIM_CONTAINER_H

#include <stdint.h>

/* Bytes that may still be used, of the control group of this process and all that it is in, of version 2 and of version
 * 1; UINT64_MAX: there is no limit, or it is not known. */
uint64_t container_room(void);

/* The same from other files than /proc/self/cgroup and /proc/self/mountinfo. */
uint64_t container_room_of(const char *membership, const char *mounts);

#endif
