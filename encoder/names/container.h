/* container.h - how much memory the container has left.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CONTAINER_H
#define PPROFSHIM_CONTAINER_H

#include <stdint.h>

/* Returns the bytes that this process's control group may still use, with the limits of all groups above it (versions
 * 1 and 2); UINT64_MAX: there is no limit, or it is not known. */
uint64_t container_room(void);

/* The same, but read other files than /proc/self/cgroup and /proc/self/mountinfo. */
uint64_t container_room_of(const char *membership, const char *mounts);

#endif
