/* spawn.c - a helper process that the program does not notice.
 *
 * Runs in: listener; the keeper; the helper's first instructions. All three share the program's memory (the helper
 * until execve). So the latter two make only raw system calls, on stacks of their own, and keep all signals blocked: a
 * handler of the program would run in that memory.
 *
 *   listener ── clone, exit signal 0 ──► keeper ── vfork, execve ──► helper
 *
 * Why a keeper: after execve, wait(-1) sees a process and SIGCHLD is sent for it, whatever flags it was cloned with.
 * The keeper is the helper's parent in place of the program. It never calls execve, so it stays unseen itself. It
 * sleeps until the helper has ended or the listener wants it to end, and passes its status on.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/spawn.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"
#include "shim/base/text.h"

enum {
	NICER_BY = 5,
	CPU_SECONDS = 300,
	NO_CORE = 1, /* bytes: no core file, nor one through a pipe, for which 0 is no reason (core(5)): it would be the
	                program's memory */
	PIPE_BYTES = 1 << 20,
	END_MS = 50,    /* how long a helper has to end by itself, */
	KILL_MS = 1000, /* the kernel to kill it, */
	LEAVE_MS = 500, /* and that while the program waits for the listener's own end */
	STEP_MS = 2,
	DEATH_SECONDS = 1,     /* the keeper waits for a killed helper. If a dead file system holds that, it is left, as
	                        * the keeper holds the memory of the program, which may have ended */
	SET_PIPE_BYTES = 1031, /* F_SETPIPE_SZ, which <fcntl.h> keeps for _GNU_SOURCE */
	ARGS_MAX = 8,
	FD_LEAST = 10, /* lowest number of our pipe ends while the helper's are put in place */
};

/* ---- how the program is confined ---- */

static int filters_at_start = -1; /* immutable after init; -1: not known, then nothing is started */

/* "Seccomp_filters:	2" */
static void count_in_line(struct span line, const char *key, int *count)
{
	uint64_t value;
	if (!span_starts(line, key))
		return;
	span_cut(&line, ':');
	if (text_parse_uint(span_trim(line), 10, &value))
		*count = (int)value;
}

/* Returns the number of seccomp filters of a thread or process (older kernels only tell whether there are any); -1: not
 * known. Other lines may be of any length (a user in many groups): only the beginning of each is kept. */
static int count_filters(const char *status_path)
{
	char part[1024], line[64];
	size_t len = 0;
	int fd = (int)os_open(status_path, O_RDONLY), filters = -1, mode = -1;
	if (fd < 0)
		return -1;
	for (long n; (n = os_read(fd, part, sizeof part)) > 0;)
		for (long i = 0; i < n; i++) {
			if (part[i] != '\n') {
				if (len < sizeof line)
					line[len++] = part[i];
				continue;
			}
			count_in_line((struct span){line, len}, "Seccomp_filters:", &filters);
			count_in_line((struct span){line, len}, "Seccomp:", &mode);
			len = 0;
		}
	os_close(fd);
	return filters >= 0 ? filters : mode;
}

/* Counts the filters of the program: the listener is another process with the program's memory, and might be used to
 * act for it. */
static int count_own_filters(void)
{
	char path[64];
	struct line l = LINE(path);
	line_str(&l, "/proc/");
	line_dec(&l, house_pid());
	line_str(&l, "/status");
	return count_filters(path);
}

/* Filters that a container was started with allow new processes: they allowed this one. Filters that a program sets
 * later for itself are there to prevent that, and may kill the program for trying. */
static bool has_confined_itself(void)
{
	return filters_at_start < 0 || count_own_filters() != filters_at_start;
}

/* ---- the helper, until it is itself ---- */

enum { STARTING, STARTED };

/* Shared by the three. One listener, one helper at a time. A keeper may outlive its listener for a moment; the next
 * listener, whose child it is not, sees by these words whether the stacks are still in use. */
static struct {
	shared_int keeper_on_stack, helper_on_stack; /* set before clone; cleared by the kernel when that process has
	                                              * ended, or is another program */
	char *argv[ARGS_MAX + 1];
	uint64_t memory_bytes;
	int in_fd, out_fd;
	int listener_pid;      /* of the process */
	shared_u32 state;      /* a futex: written by the keeper */
	int error;             /* of clone or execve; before STARTED */
	int status;            /* of the helper, when the keeper has ended */
	shared_int keeper_pid; /* written only by the listener, or by the kernel for it; 0: there is none */
} shared FORKED;
static char keeper_stack[8 * 1024] __attribute__((aligned(16)));
static char helper_stack[8 * 1024] __attribute__((aligned(16)));

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
	if (filters_at_start > 0)
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
	limit(RLIMIT_DATA, shared.memory_bytes);
	limit(RLIMIT_CPU, CPU_SECONDS);
	os_call(SYS_dup3, shared.in_fd, 0, 0);
	os_call(SYS_dup3, shared.out_fd, 1, 0);
	close_from(2);
	shared.error = (int)os_call(SYS_execve, shared.argv[0], shared.argv, no_environment);
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

#define SIGNAL(n) ((uint64_t)1 << ((n)-1))

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
	uint64_t set = SIGNAL(SIGCHLD) | SIGNAL(SIGTERM);
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
	close_all_but(shared.in_fd, shared.out_fd);
	limit(RLIMIT_CORE, NO_CORE);
	stand_apart(
		SIGTERM); /* the process that inherits it (maybe postgres, as process 1) should see an ordinary end */
	os_call(SYS_rt_sigaction, SIGCHLD, &action, 0, sizeof action.mask);
	long pid = os_call(SYS_getppid, 0) == shared.listener_pid
	                   ? clone_sharing(CLONE_VFORK | SIGCHLD, NULL, &shared.helper_on_stack,
	                                   helper_stack + sizeof helper_stack, become_helper)
	                   : -ESRCH;
	close_from(0);
	shared_store_relaxed(&shared.helper_on_stack, 0); /* some emulators' kernel does not */
	if (pid < 0)
		shared.error = (int)pid;
	shared_store_release(&shared.state, STARTED);
	os_futex_wake(shared_word(&shared.state), 1);
	if (pid > 0)
		shared.status = await_end((int)pid);
	os_call(SYS_exit_group, 0);
}

/* If the program has confined itself meanwhile, the calls that end a helper might end the program. So the helper is
 * left alone (it becomes a zombie at most), and no more are started. */
static bool is_out_of_reach(void)
{
	if (shared_own(&shared.keeper_pid) && has_confined_itself())
		shared_store_relaxed(&shared.keeper_pid, 0);
	return !shared_own(&shared.keeper_pid);
}

/* Has it ended? Its pid is then free. */
static bool reap_keeper(void)
{
	int status, pid = shared_own(&shared.keeper_pid);
	long r = pid ? os_call(SYS_wait4, pid, &status, WNOHANG | __WALL, 0) : 0;
	if (r == pid)
		shared_store_relaxed(&shared.keeper_on_stack, 0); /* old kernels do not, if it was killed */
	if (r != 0)
		shared_store_relaxed(&shared.keeper_pid, 0);
	return !shared_own(&shared.keeper_pid);
}

static void pause_ms(int ms)
{
	static uint32_t never;
	struct timespec step = {.tv_nsec = ms * 1000 * 1000};
	os_futex_wait(&never, 0, &step);
}

static bool await_keeper(int most_ms)
{
	for (int ms = 0; !reap_keeper() && ms < most_ms; ms += STEP_MS)
		pause_ms(STEP_MS);
	return !shared_own(&shared.keeper_pid);
}

/* ---- pipes ---- */

struct pipes {
	int in[2], out[2];
};

static void close_pipe(int fd[2])
{
	for (int i = 0; i < 2; i++)
		if (fd[i] >= 0)
			os_close(fd[i]);
}

/* Moves the descriptor away from 0 and 1, which the child needs. */
static int raise_fd(int fd)
{
	int high = (int)os_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, FD_LEAST);
	os_close(fd);
	return high;
}

static int open_pipe(int fd[2])
{
	int low[2];
	fd[0] = fd[1] = -1;
	int r = (int)os_call(SYS_pipe2, low, O_CLOEXEC);
	if (r < 0)
		return r;
	for (int i = 0; i < 2; i++)
		fd[i] = raise_fd(low[i]);
	os_call(SYS_fcntl, fd[0], SET_PIPE_BYTES, PIPE_BYTES); /* what is refused stays as it is */
	return fd[0] < 0 ? fd[0] : fd[1] < 0 ? fd[1] : 0;
}

bool spawn_has_started(void)
{
	return shared_load_acquire(&shared.state) == STARTED;
}

int spawn_error(void)
{
	return spawn_has_started() ? shared.error : 0;
}

bool spawn_has_leftovers(void)
{
	return shared_load_acquire(&shared.keeper_on_stack) || shared_load_acquire(&shared.helper_on_stack);
}

static int start(struct spawned *s, char *const argv[], uint64_t memory_bytes, struct pipes *p)
{
	for (int i = 0; i < ARGS_MAX; i++)
		if (!(shared.argv[i] = argv[i]))
			break;
	shared.memory_bytes = memory_bytes;
	shared.in_fd = p->in[0];
	shared.out_fd = p->out[1];
	shared.listener_pid = os_pid();
	shared_set_own(&shared.state, STARTING);
	shared.error = 0;
	shared.status = -1;
	/* a handler of ours may interrupt right after this, and must find the number */
	long pid = clone_sharing(0, shared_word(&shared.keeper_pid), &shared.keeper_on_stack,
	                         keeper_stack + sizeof keeper_stack, keep);
	if (pid < 0)
		return (int)pid;
	*s = (struct spawned){.pid = (int)pid, .to_fd = p->in[1], .from_fd = p->out[0]};
	p->in[1] = p->out[0] = -1; /* they are s's now */
	os_call(SYS_fcntl, s->to_fd, F_SETFL, O_NONBLOCK);
	os_call(SYS_fcntl, s->from_fd, F_SETFL, O_NONBLOCK);
	return 0;
}

int spawn(struct spawned *s, char *const argv[], uint64_t memory_bytes)
{
	struct pipes p = {{-1, -1}, {-1, -1}};
	*s = (struct spawned){.to_fd = -1, .from_fd = -1};
	if (has_confined_itself())
		return -EPERM;
	if (!reap_keeper() || spawn_has_leftovers())
		return -EBUSY; /* an old keeper did not end */
	int r = open_pipe(p.in);
	if (r == 0)
		r = open_pipe(p.out);
	if (r == 0)
		r = start(s, argv, memory_bytes, &p);
	close_pipe(p.in);
	close_pipe(p.out);
	return r;
}

/* A write to a pipe that nobody reads leaves SIGPIPE pending on this thread, for which it is blocked. */
static void drop_sigpipe(void)
{
	uint64_t set = (uint64_t)1 << (SIGPIPE - 1);
	struct timespec none = {0};
	os_call(SYS_rt_sigtimedwait, &set, 0, &none, sizeof set);
}

long spawn_write(struct spawned *s, const void *bytes, uint64_t count)
{
	long n = os_write(s->to_fd, bytes, count);
	if (n >= 0 || n == -EAGAIN)
		return n < 0 ? 0 : n;
	drop_sigpipe();
	return -EPIPE;
}

void spawn_close_input(struct spawned *s)
{
	if (s->to_fd >= 0)
		os_close(s->to_fd);
	s->to_fd = -1;
}

void spawn_stop(struct spawned *s)
{
	spawn_close_input(s);
	if (s->from_fd >= 0)
		os_close(s->from_fd);
	s->from_fd = -1;
	s->stop_ns = os_clock_ns(CLOCK_MONOTONIC);
}

/* It is asked to end once it had time to do so by itself. */
static bool ends_in_time(struct spawned *s)
{
	uint64_t ms = (os_clock_ns(CLOCK_MONOTONIC) - s->stop_ns) / 1000000;
	if (ms >= END_MS && !s->is_killed)
		s->is_killed = os_call(SYS_kill, shared_own(&shared.keeper_pid), SIGTERM) == 0;
	return ms < END_MS + KILL_MS;
}

bool spawn_has_ended(struct spawned *s, int *status)
{
	bool is_ours = s->pid > 0 && s->pid == shared_own(&shared.keeper_pid) && !is_out_of_reach();
	if (is_ours && !reap_keeper() && ends_in_time(s))
		return false;
	*status = is_ours && !shared_own(&shared.keeper_pid) ? shared.status : -1;
	s->pid = 0;
	return true;
}

/* The keeper gets SIGTERM, as it does when its listener dies, and kills the helper. */
void spawn_dismiss(void)
{
	int keeper = shared_load_relaxed(&shared.keeper_pid);
	if (keeper)
		os_call(SYS_kill, keeper, SIGTERM);
}

bool spawn_is_running(void)
{
	return shared_load_relaxed(&shared.keeper_pid) != 0;
}

static void kill_within(int most_ms)
{
	if (is_out_of_reach() || reap_keeper())
		return;
	os_call(SYS_kill, shared_own(&shared.keeper_pid), SIGTERM);
	await_keeper(most_ms);
}

void spawn_kill(void)
{
	kill_within(KILL_MS);
}

void spawn_leave(void)
{
	if (spawn_is_running())
		kill_within(LEAVE_MS);
}

/* Most programs have no filter, and to ask for that is cheap. */
void spawn_start(void)
{
	filters_at_start = os_call(SYS_prctl, PR_GET_SECCOMP) == 0 ? 0 : count_own_filters();
}

FORKED_CODE void spawn_fork_child(void)
{
	if (!shared_own(&shared.keeper_pid) && !spawn_has_leftovers())
		return; /* the page need not be copied */
	shared_set_own(&shared.keeper_pid, 0);
	shared_set_own(&shared.keeper_on_stack, 0);
	shared_set_own(&shared.helper_on_stack, 0);
}
