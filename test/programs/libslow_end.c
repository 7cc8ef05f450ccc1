/* libslow_end.c - a library that takes long to go.
 *
 * Runs in: a process of fork_in_dlclose, in dlclose.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

int slow_end_begun; /* atomic */

__attribute__((destructor)) static void end(void)
{
	__atomic_store_n(&slow_end_begun, 1, __ATOMIC_RELEASE);
	sleep(2);
}
