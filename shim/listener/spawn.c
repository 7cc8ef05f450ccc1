/* spawn.c - start and end a helper process that the program does not notice.
 *
 * Runs in: listener, in its handler too (spawn_dismiss, spawn_leave). So: only raw system calls. The process between
 * the two is in keeper.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/spawn.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"
#include "shim/listener/filters.h"
#include "shim/listener/keeper.h"

enum {
	PIPE_BYTES = 1 << 20,
	END_MS = 50,    /* how long a helper has to end by itself, */
	KILL_MS = 1000, /* the kernel to kill it, */
	LEAVE_MS = 500, /* and that while the program waits for the listener's own end */
	STEP_MS = 2,
	SET_PIPE_BYTES = 1031, /* F_SETPIPE_SZ, which <fcntl.h> keeps for _GNU_SOURCE */
	FD_LEAST = 10,         /* lowest number of our pipe ends while the helper's are put in place */
};

/* If the program has confined itself meanwhile, the calls that end a helper might end the program. So the helper is
 * left alone (it becomes a zombie at most), and no more are started. */
static bool is_out_of_reach(void)
{
	if (shared_own(&keeper_shared.keeper_pid) && filters_have_changed())
		shared_store_relaxed(&keeper_shared.keeper_pid, 0);
	return !shared_own(&keeper_shared.keeper_pid);
}

/* Has it ended? Its pid is then free. */
static bool reap_keeper(void)
{
	int status, pid = shared_own(&keeper_shared.keeper_pid);
	long r = pid ? os_call(SYS_wait4, pid, &status, WNOHANG | __WALL, 0) : 0;
	if (r == pid)
		shared_store_relaxed(&keeper_shared.keeper_on_stack, 0); /* old kernels do not, if it was killed */
	if (r != 0)
		shared_store_relaxed(&keeper_shared.keeper_pid, 0);
	return !shared_own(&keeper_shared.keeper_pid);
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
	return !shared_own(&keeper_shared.keeper_pid);
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

/* ---- start ---- */

bool spawn_has_started(void)
{
	return shared_load_acquire(&keeper_shared.state) == KEEPER_STARTED;
}

int spawn_error(void)
{
	return spawn_has_started() ? keeper_shared.error : 0;
}

bool spawn_has_leftovers(void)
{
	return shared_load_acquire(&keeper_shared.keeper_on_stack) ||
	       shared_load_acquire(&keeper_shared.helper_on_stack);
}

/* Start argv with these two as its standard input and output. */
static int start(struct spawned *s, char *const argv[], uint64_t memory_bytes, int in_fd, int out_fd)
{
	for (int i = 0; i < KEEPER_ARGS_MAX; i++)
		if (!(keeper_shared.argv[i] = argv[i]))
			break;
	keeper_shared.memory_bytes = memory_bytes;
	keeper_shared.in_fd = in_fd;
	keeper_shared.out_fd = out_fd;
	keeper_shared.listener_pid = os_pid();
	shared_set_own(&keeper_shared.state, KEEPER_STARTING);
	keeper_shared.error = 0;
	keeper_shared.status = -1;
	/* a handler of ours may interrupt right after this, and must find the number */
	long pid = keeper_start();
	if (pid < 0)
		return (int)pid;
	*s = (struct spawned){.pid = (int)pid, .to_fd = -1, .from_fd = -1};
	return 0;
}

/* Returns 0; or why no helper can be started now. */
static int is_impossible(void)
{
	if (filters_have_changed())
		return -EPERM;
	return !reap_keeper() || spawn_has_leftovers() ? -EBUSY /* an old keeper did not end */ : 0;
}

static int start_on_pipes(struct spawned *s, char *const argv[], uint64_t memory_bytes, struct pipes *p)
{
	int r = start(s, argv, memory_bytes, p->in[0], p->out[1]);
	if (r < 0)
		return r;
	s->to_fd = p->in[1], s->from_fd = p->out[0];
	p->in[1] = p->out[0] = -1; /* they are s's now */
	os_call(SYS_fcntl, s->to_fd, F_SETFL, O_NONBLOCK);
	os_call(SYS_fcntl, s->from_fd, F_SETFL, O_NONBLOCK);
	return 0;
}

int spawn(struct spawned *s, char *const argv[], uint64_t memory_bytes)
{
	struct pipes p = {{-1, -1}, {-1, -1}};
	*s = (struct spawned){.to_fd = -1, .from_fd = -1};
	int r = is_impossible();
	if (r < 0)
		return r;
	r = open_pipe(p.in);
	if (r == 0)
		r = open_pipe(p.out);
	if (r == 0)
		r = start_on_pipes(s, argv, memory_bytes, &p);
	close_pipe(p.in);
	close_pipe(p.out);
	return r;
}

int spawn_on_socket(struct spawned *s, char *const argv[], uint64_t memory_bytes, int fd, unsigned life_s)
{
	*s = (struct spawned){.to_fd = -1, .from_fd = -1};
	int r = is_impossible();
	if (r == 0)
		r = start(s, argv, memory_bytes, fd, fd);
	s->stop_ns = os_clock_ns(CLOCK_MONOTONIC) + life_s * UINT64_C(1000000000);
	return r;
}

/* ---- what the helper is asked, and its end ---- */

/* A write to a pipe that nobody reads leaves SIGPIPE pending on this thread, for which it is blocked. */
static void drop_sigpipe(void)
{
	uint64_t set = OS_SIGNAL_BIT(SIGPIPE);
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
	uint64_t now_ns = os_clock_ns(CLOCK_MONOTONIC), ms = now_ns > s->stop_ns ? (now_ns - s->stop_ns) / 1000000 : 0;
	if (ms >= END_MS && !s->is_killed)
		s->is_killed = os_call(SYS_kill, shared_own(&keeper_shared.keeper_pid), SIGTERM) == 0;
	return ms < END_MS + KILL_MS;
}

bool spawn_has_ended(struct spawned *s, int *status)
{
	bool is_ours = s->pid > 0 && s->pid == shared_own(&keeper_shared.keeper_pid) && !is_out_of_reach();
	if (is_ours && !reap_keeper() && ends_in_time(s))
		return false;
	*status = is_ours && !shared_own(&keeper_shared.keeper_pid) ? keeper_shared.status : -1;
	s->pid = 0;
	return true;
}

/* The keeper gets SIGTERM, as it does when its listener dies, and kills the helper. */
void spawn_dismiss(void)
{
	int keeper = shared_load_relaxed(&keeper_shared.keeper_pid);
	if (keeper)
		os_call(SYS_kill, keeper, SIGTERM);
}

bool spawn_is_running(void)
{
	return shared_load_relaxed(&keeper_shared.keeper_pid) != 0;
}

static void kill_within(int most_ms)
{
	if (is_out_of_reach() || reap_keeper())
		return;
	os_call(SYS_kill, shared_own(&keeper_shared.keeper_pid), SIGTERM);
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

void spawn_start(void)
{
	filters_start();
}

FORKED_CODE void spawn_fork_child(void)
{
	if (!shared_own(&keeper_shared.keeper_pid) && !spawn_has_leftovers())
		return; /* the page need not be copied */
	shared_set_own(&keeper_shared.keeper_pid, 0);
	shared_set_own(&keeper_shared.keeper_on_stack, 0);
	shared_set_own(&keeper_shared.helper_on_stack, 0);
}
