/* container.h - how much memory the container has left.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SYMBOLIZE_CONTAINER_H
#define PPROFSHIM_SYMBOLIZE_CONTAINER_H

#include <stdint.h>

/* Take no more than half of what the control group may still use (RLIMIT_DATA is lowered): Kubernetes has the kernel kill a
 * container whole when it runs out, the program with it. Control groups of version 2; of version 1, the kernel picks this
 * process (oom_score_adj). */
void container_leave_room(void);

/* Bytes that may still be used, of the group named in the file `membership` (/proc/self/cgroup) and all that it is in, below
 * `root` (/sys/fs/cgroup); UINT64_MAX: there is no limit, or none of version 2. */
uint64_t container_room(const char *root, const char *membership);

#endif
