/* scheduling.c - the listener and the visitor run as ordinary processes do.
 *
 * Runs in: init; app's thread that starts one of them, in our handler too; listener; visitor. Raw system calls alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/scheduling.h"

#include <linux/capability.h>
#include <sched.h>
#include <string.h>

#include "shim/base/os.h"

enum {
	PROCESSORS_BYTES = 1024,
	DEADLINE = 6,      /* SCHED_DEADLINE, these two: not in every libc's headers */
	RESET_ON_FORK = 1, /* SCHED_FLAG_RESET_ON_FORK */
};

static uint64_t processors[PROCESSORS_BYTES / 8]; /* immutable after init */
static long processors_bytes;

/* struct sched_attr of Linux 3.14 */
struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static bool is_real_time(void)
{
	long class = os_call(SYS_sched_getscheduler, 0);
	return class == SCHED_FIFO || class == SCHED_RR || class == DEADLINE;
}

/* On the processors that a real-time program is pinned to, it may leave us no time. Then any is meant that the cpuset
 * allows: the kernel leaves out the others. */
void scheduling_start(void)
{
	processors_bytes = os_call(SYS_sched_getaffinity, 0, sizeof processors, processors);
	if (processors_bytes > 0 && is_real_time())
		memset(processors, 0xff, (size_t)processors_bytes);
}

/* Without that right the flag could be set, but not cleared again. */
static bool may_change_classes(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	return os_call(SYS_capget, &header, data) == 0 && data[0].effective >> CAP_SYS_NICE & 1;
}

static bool set_reset_on_fork(bool on)
{
	struct attributes a;
	memset(&a, 0, sizeof a);
	if (os_call(SYS_sched_getattr, 0, &a, sizeof a, 0) < 0 || !(a.flags & RESET_ON_FORK) != on)
		return false;
	a.flags = on ? a.flags | RESET_ON_FORK : a.flags & ~(uint64_t)RESET_ON_FORK;
	return os_call(SYS_sched_setattr, 0, &a, 0) == 0;
}

bool scheduling_lend(void)
{
	return os_call(SYS_sched_getscheduler, 0) == DEADLINE && may_change_classes() && set_reset_on_fork(true);
}

void scheduling_take_back(bool lent)
{
	if (lent)
		set_reset_on_fork(false);
}

void scheduling_be_ordinary(void)
{
	struct sched_param none = {0};
	if (os_call(SYS_sched_getscheduler, 0) > 0)
		os_call(SYS_sched_setscheduler, 0, SCHED_OTHER, &none);
	if (processors_bytes > 0)
		os_call(SYS_sched_setaffinity, 0, processors_bytes, processors);
}
