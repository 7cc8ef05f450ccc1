/* keeper.c - a process that the program does not notice is the parent of the helper, in place of the program.
 *
 * Runs in: the keeper; the helper's first instructions; the listener (keeper_start). All three share the program's
 * memory (the helper until execve). So the first two make only raw system calls, on stacks of their own, and keep all
 * signals blocked: a handler of the program would run in that memory.
 *
 *   listener ── clone, exit signal 0 ──► keeper ── vfork, execve ──► helper
 *
 * Why a keeper: after execve, wait(-1) sees a process and SIGCHLD is sent for it, whatever flags it was cloned with.
 * The keeper is the helper's parent in place of the program. It never calls execve, so it stays unseen itself. It
 * sleeps until the helper has ended or the listener wants it to end, and passes its status on.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/keeper.h"

#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/listener/filters.h"

enum {
	NICER_BY = 5,
	CPU_SECONDS = 300,
	NO_CORE = 1, /* bytes: no core file, nor one through a pipe, for which 0 is no reason (core(5)): it would be the
	                program's memory */
	DEATH_SECONDS = 1, /* the keeper waits for a killed helper. If a dead file system holds that, it is left, as
	                    * the keeper holds the memory of the program, which may have ended */
};

struct keeper_shared keeper_shared FORKED;
static char keeper_stack[8 * 1024] __attribute__((aligned(16)));
static char helper_stack[8 * 1024] __attribute__((aligned(16)));

/* ---- the helper, until it is itself ---- */

static void limit(int what, uint64_t value)
{
	struct {
		uint64_t now, most;
	} old = {0, 0}, wanted = {value, value};
	if (os_call(SYS_prlimit64, 0, what, 0, &old) == 0 && old.most >= value)
		os_call(SYS_prlimit64, 0, what, &wanted, 0);
}

/* The filters of a service often kill for this call (systemd's ~@resources). If there is a filter, the helper tries it
 * itself, carefully. */
static void be_nice(void)
{
	if (filters_were_inherited())
		return;
	long now = 20 - os_call(SYS_getpriority, PRIO_PROCESS, 0); /* the system call answers 20 - nice */
	os_call(SYS_setpriority, PRIO_PROCESS, 0, now + NICER_BY < 19 ? now + NICER_BY : 19);
}

static void close_from(int first)
{
	if (os_call(SYS_close_range, first, ~0u, 0) == 0)
		return;
	for (int fd = first; fd < 65536; fd++)
		os_close(fd);
}

/* Leaves the program's process group and its signals. Gets orphans_signal when its parent has ended. */
static void stand_apart(int orphans_signal)
{
	os_call(SYS_prctl, PR_SET_PDEATHSIG, orphans_signal);
	os_call(SYS_setpgid, 0, 0);
}

static void become_helper(void *arg)
{
	static char *const no_environment[] = {NULL};
	(void)arg;
	stand_apart(SIGKILL);
	be_nice();
	limit(RLIMIT_DATA, keeper_shared.memory_bytes);
	limit(RLIMIT_CPU, CPU_SECONDS);
	os_call(SYS_dup3, keeper_shared.in_fd, 0, 0);
	os_call(SYS_dup3, keeper_shared.out_fd, 1, 0);
	close_from(2);
	keeper_shared.error = (int)os_call(SYS_execve, keeper_shared.argv[0], keeper_shared.argv, no_environment);
	os_call(SYS_exit_group, 127);
}

/* ---- the keeper ---- */

/* If tid is not NULL, the kernel stores the process id there before the new process runs. *on_stack is not 0 while that
 * runs on the stack. */
static long clone_sharing(unsigned long flags, int *tid, shared_int *on_stack, char *stack_end, void (*main)(void *))
{
#if ARCH_HAS_CLONE
	flags |= CLONE_VM | CLONE_CHILD_CLEARTID | (tid ? CLONE_PARENT_SETTID : 0);
	shared_store_relaxed(on_stack, 1);
	long pid = arch_clone(flags, stack_end, tid, shared_word(on_stack), NULL, main, NULL);
	if (pid < 0)
		shared_store_relaxed(on_stack, 0);
	return pid;
#else /* no assembly for this architecture */
	(void)flags, (void)tid, (void)on_stack, (void)stack_end, (void)main;
	return -ENOSYS;
#endif
}

/* Makes wait(2)'s status from SIGCHLD's information. */
static int status_of(const siginfo_t *info)
{
	switch (info->si_code) {
	case CLD_EXITED: return info->si_status << 8;
	case CLD_DUMPED: return info->si_status | 0x80;
	default: return info->si_status;
	}
}

/* SIGCHLD: the helper has ended; SIGTERM: it must end. Both are blocked, and taken here. The kernel reaps the helper
 * itself, so that its CPU time is not added to the program's (RUSAGE_CHILDREN). */
static int await_end(int helper_pid)
{
	uint64_t set = OS_SIGNAL_BIT(SIGCHLD) | OS_SIGNAL_BIT(SIGTERM);
	struct timespec patience = {.tv_sec = DEATH_SECONDS};
	bool is_killed = false;
	siginfo_t info;
	int status = -1;
	for (;;) {
		long n = os_call(SYS_rt_sigtimedwait, &set, &info, is_killed ? &patience : NULL, sizeof set);
		if (n == SIGCHLD)
			status = status_of(&info);
		if (os_call(SYS_wait4, helper_pid, 0, WNOHANG | __WALL, 0) != 0 || (n == -EAGAIN && is_killed))
			return status;
		if (n == SIGTERM)
			is_killed = os_call(SYS_kill, helper_pid, SIGKILL) == 0;
	}
}

/* The keeper inherits all open descriptors of the listener, the port among them: a process that wants the port next
 * would find it taken. */
static void close_all_but(int one, int other)
{
	int low = one < other ? one : other, high = one < other ? other : one;
	if (os_call(SYS_close_range, high + 1, ~0u, 0) != 0)
		return; /* a kernel without it: later, after the helper's execve */
	if (low > 0)
		os_call(SYS_close_range, 0, low - 1, 0);
	if (high - low > 1)
		os_call(SYS_close_range, low + 1, high - 1, 0);
}

static void keep(void *arg)
{
	struct {
		uintptr_t handler, flags, restorer;
		uint64_t mask;
	} action = {.flags = SA_NOCLDWAIT | SA_NOCLDSTOP}; /* and the default for a handler, whatever the program has */
	(void)arg;
	close_all_but(keeper_shared.in_fd, keeper_shared.out_fd);
	limit(RLIMIT_CORE, NO_CORE);
	stand_apart(
		SIGTERM); /* the process that inherits it (maybe postgres, as process 1) should see an ordinary end */
	os_call(SYS_rt_sigaction, SIGCHLD, &action, 0, sizeof action.mask);
	long pid = os_call(SYS_getppid, 0) == keeper_shared.listener_pid
	                   ? clone_sharing(CLONE_VFORK | SIGCHLD, NULL, &keeper_shared.helper_on_stack,
	                                   helper_stack + sizeof helper_stack, become_helper)
	                   : -ESRCH;
	close_from(0);
	shared_store_relaxed(&keeper_shared.helper_on_stack, 0); /* some emulators' kernel does not */
	if (pid < 0)
		keeper_shared.error = (int)pid;
	shared_store_release(&keeper_shared.state, KEEPER_STARTED);
	os_futex_wake(shared_word(&keeper_shared.state), 1);
	if (pid > 0)
		keeper_shared.status = await_end((int)pid);
	os_call(SYS_exit_group, 0);
}

long keeper_start(void)
{
	return clone_sharing(0, shared_word(&keeper_shared.keeper_pid), &keeper_shared.keeper_on_stack,
	                     keeper_stack + sizeof keeper_stack, keep);
}
