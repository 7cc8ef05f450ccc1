/* process.c - the listener as a process: what it sheds when it begins, its handlers, its end.
 *
 * Runs in: the listener, in its handlers too (on_command, on_fault).
 * So: only raw system calls. Until it has its own file table, a descriptor that is closed is the program's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/process.h"

#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "shim/base/house.h"
#include "shim/base/losses.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/base/sync.h"
#include "shim/base/text.h"
#include "shim/listener/commands.h"
#include "shim/listener/listener.h"
#include "shim/listener/obey.h"
#include "shim/listener/offspring.h"
#include "shim/listener/scheduling.h"
#include "shim/listener/spawn.h"
#include "shim/listener/state.h"
#include "shim/threads/timers.h"
#include "shim/waits/signals.h"

enum {
	FAULTS_MOST = 3,
	NO_CORE = 1, /* bytes: as in keeper.c */
};

/* Closes the inherited descriptors, on a kernel without close_range. */
static void close_all(void)
{
	_Alignas(struct os_dir_entry) char buf[2048];
	int dir = (int)os_open("/proc/thread-self/fd", O_RDONLY | O_DIRECTORY);
	for (long n; dir >= 0 && (n = os_call(SYS_getdents64, dir, buf, sizeof buf)) > 0;)
		for (long at = 0; at < n; at += ((struct os_dir_entry *)(buf + at))->bytes) {
			uint64_t fd;
			if (text_parse_uint(span_of(((struct os_dir_entry *)(buf + at))->name), 10, &fd) &&
			    (int)fd != dir)
				os_close((int)fd);
		}
	if (dir >= 0)
		os_close(dir);
}

/* Gives the listener an empty file table of its own. If the kernel cannot do that, or a filter forbids it, the listener
 * was born with a copy, which it closes. (An ordinary thread has none: then the table stays the program's, and
 * http/address/fd.c keeps out of its way.) */
static bool leave_file_table(void)
{
	long r = os_call(SYS_close_range, 0, ~0u, CLOSE_RANGE_UNSHARE);
	if (r != -ENOSYS && r != -EPERM)
		return r == 0; /* else no memory */
	if (listener_room.has_own_table)
		close_all();
	return listener_room.has_own_table || listener_state.kind == OFFSPRING_SHARING;
}

_Noreturn void process_end(void)
{
	for (;;)
		os_call(SYS_exit_group, 0);
}

_Noreturn void process_leave(void)
{
	spawn_leave();
	process_end();
}

bool process_has_parent(void)
{
	return os_call(SYS_getppid, 0) == house_pid();
}

void process_mind_parent(void)
{
	os_call(SYS_prctl, PR_SET_PDEATHSIG, COMMAND_SIGNAL);
	if (!process_has_parent())
		process_end();
}

static bool may_read; /* the listener's: process_vm_readv is not forbidden */

static long read_cookie(uint64_t *seen)
{
	struct iovec here = {seen, sizeof *seen}, there = {&listener_state.cookie, sizeof *seen};
	return os_call(SYS_process_vm_readv, house_pid(), &here, 1, &there, 1, 0);
}

bool listener_has_program(void)
{
	uint64_t seen = 0;
	if (listener_state.kind != OFFSPRING_PROCESS)
		return true;
	if (!process_has_parent())
		return false;
	long n = read_cookie(&seen);
	/* -ESRCH: its main thread has ended, others have not */
	return n == -ENOSYS || n == -ESRCH || (n == -EPERM && !may_read) ||
	       (n == sizeof seen && seen == listener_state.cookie);
}

static void on_command(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info, (void)context;
	obey_at_once();
}

/* A fault in the listener must not hurt the program: this listener ends silently, and another one is started, a few
 * times. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info, (void)context;
	losses_count(listener_fault);
	if (shared_add_relaxed(&listener_state.faults, 1) < FAULTS_MOST)
		listener_set_pending(true);
	process_end();
}

static void take_handlers(void)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
	struct timers_action action = signals_action_of(on_command);
	uint64_t open = OS_SIGNAL_BIT(COMMAND_SIGNAL);
	stack_t alternate = {0};
	alternate.ss_sp = offspring_alternate_stack(&listener_room, &alternate.ss_size);
	os_call(SYS_sigaltstack, &alternate, NULL);
	timers_set_action(COMMAND_SIGNAL, &action, NULL);
	action = signals_action_of(on_fault);
	action.flags |= SA_ONSTACK;
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
		timers_set_action(faults[i], &action, NULL);
		open |= OS_SIGNAL_BIT(faults[i]);
	}
	os_call(SYS_rt_sigprocmask, SIG_UNBLOCK, &open, NULL, sizeof open);
}

/* Leaves the program's session and working directory, and sets its own limits (core file, pending signals). */
static void stand_apart(void)
{
	const uint64_t core[2] = {NO_CORE, NO_CORE}, none[2] = {0, 0};
	os_call(SYS_setsid, 0);
	os_call(SYS_chdir, "/");
	os_call(SYS_prlimit64, 0, RLIMIT_CORE, core, NULL);
	os_call(SYS_prlimit64, 0, RLIMIT_SIGPENDING, none, NULL); /* see commands_signal_listener */
	process_mind_parent();
}

static int open_wake_fd(void)
{
	uint64_t set = OS_SIGNAL_BIT(WAKE_SIGNAL);
	if (listener_state.kind == OFFSPRING_PROCESS)
		return (int)os_call(SYS_eventfd2, 0, O_CLOEXEC | O_NONBLOCK);
	return (int)os_call(SYS_signalfd4, -1, &set, sizeof set, O_CLOEXEC | O_NONBLOCK);
}

/* Opens a descriptor that becomes readable when the program has ended. The kernel sends no parent-death signal to a
 * process with another identity, and cancels it on changes. Negative before Linux 5.3. */
static int open_program(void)
{
	enum { PIDFD_OPEN = 434 }; /* on every architecture; not in every libc's headers */
	return listener_state.kind == OFFSPRING_PROCESS ? (int)os_call(PIDFD_OPEN, house_pid(), 0) : -1;
}

bool process_program_has_ended(void)
{
	struct pollfd p = {.fd = listener_state.program_fd, .events = POLLIN};
	struct timespec at_once = {0};
	return listener_state.program_fd >= 0 && os_call(SYS_ppoll, &p, 1, &at_once, NULL, 8) > 0;
}

static void tell_starter(uint32_t ready, int open_error)
{
	listener_state.open_error = open_error;
	shared_store_release(&listener_state.ready, ready);
	os_futex_wake(shared_word(&listener_state.ready), 1);
}

void listener_has_opened(int error)
{
	tell_starter(LISTENER_READY, error);
}

void process_run(void *unused)
{
	(void)unused;
	lock_know_tid(os_tid());
	self.busy = true; /* no handler of the program ever interrupts it: it may take locks at any time */
	if (listener_state.kind == OFFSPRING_PROCESS)
		take_handlers();
	may_read = read_cookie(&(uint64_t){0}) > 0;
	bool left = leave_file_table();
	if (listener_state.kind == OFFSPRING_PROCESS)
		stand_apart();
	scheduling_be_ordinary();
	os_call(SYS_prctl, PR_SET_NAME, "pprofshim");
	listener_state.wake_fd = left ? open_wake_fd() : -1;
	listener_state.program_fd = left ? open_program() : -1;
	if (left)
		listener_state.life.main(listener_state.wake_fd, listener_state.program_fd);
	else
		tell_starter(LISTENER_FAILED, -ENOMEM);
	listener_serves(0);
	if (listener_state.kind == OFFSPRING_PROCESS)
		process_end();
}
