/* spawn.c - a helper process that the program does not notice.
 *
 * Runs in: listener; the helper's first instructions, which share the program's memory until execve: raw system calls alone,
 * and all signals stay blocked (a handler of the program would run in that memory).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/spawn.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "shim/listener_clone.h"
#include "shim/os.h"
#include "shim/text.h"

enum {
	NICER_BY = 10,
	CPU_SECONDS = 300,
	PIPE_BYTES = 1 << 20,
	SET_PIPE_BYTES = 1031, /* F_SETPIPE_SZ, which <fcntl.h> keeps for _GNU_SOURCE */
	FD_LEAST = 10, /* of our ends while the helper's are put in place */
};

/* ---- how the program is confined ---- */

static int filters_at_start = -1; /* -1: not known */

static int count_in_status(struct span status, const char *key)
{
	while (status.len) {
		struct span line = span_cut(&status, '\n');
		uint64_t value;
		if (!span_starts(line, key))
			continue;
		span_cut(&line, '\t');
		if (text_parse_uint(span_trim(line), 10, &value))
			return (int)value;
	}
	return -1;
}

/* Seccomp filters of a thread or process; older kernels only say whether there are any. -1: not known. */
static int count_filters(const char *status_path)
{
	char text[4096];
	int fd = (int)os_open(status_path, O_RDONLY);
	long n = fd < 0 ? fd : os_read(fd, text, sizeof text);
	if (fd >= 0)
		os_close(fd);
	if (n < 0)
		return -1;
	struct span status = {text, (size_t)n};
	int filters = count_in_status(status, "Seccomp_filters:");
	return filters >= 0 ? filters : count_in_status(status, "Seccomp:");
}

static int count_own_filters(void)
{
	return count_filters("/proc/thread-self/status");
}

static int count_parents_filters(void)
{
	char path[64];
	struct line l = LINE(path);
	line_str(&l, "/proc/");
	line_dec(&l, os_call(SYS_getppid, 0));
	line_str(&l, "/status");
	return count_filters(path);
}

void spawn_start(bool late)
{
	filters_at_start = count_own_filters();
	if (late && filters_at_start > 0)
		filters_at_start = count_parents_filters();
}

/* Filters that a container was started with let processes be started: this one was. Those that a program gives itself later are
 * there to keep it from that, and may kill it for trying. */
static bool has_confined_itself(void)
{
	return count_own_filters() != filters_at_start;
}

/* ---- the child ---- */

struct start {
	char *const *argv;
	uint64_t memory_bytes;
	int in_fd, out_fd;
	int error; /* of execve, written by the child */
};

static void limit(int what, uint64_t value)
{
	struct {
		uint64_t now, most;
	} old = {0, 0}, wanted = {value, value};
	if (os_call(SYS_prlimit64, 0, what, 0, &old) == 0 && old.most >= value)
		os_call(SYS_prlimit64, 0, what, &wanted, 0);
}

static void be_nice(void)
{
	long now = 20 - os_call(SYS_getpriority, PRIO_PROCESS, 0); /* the system call answers 20 - nice */
	os_call(SYS_setpriority, PRIO_PROCESS, 0, now + NICER_BY < 19 ? now + NICER_BY : 19);
}

/* All but 0 and 1 are marked to be closed by execve, save where the table is the program's own (an ordinary thread). */
static void close_others(void)
{
	if (os_call(SYS_close_range, 2, ~0u, 0) == 0)
		return;
	for (int fd = 2; fd < 65536; fd++)
		os_close(fd);
}

static void child(void *arg)
{
	static char *const no_environment[] = {NULL};
	struct start *s = arg;
	os_call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
	os_call(SYS_setpgid, 0, 0);
	be_nice();
	limit(RLIMIT_DATA, s->memory_bytes);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_CPU, CPU_SECONDS);
	os_call(SYS_dup3, s->in_fd, 0, 0);
	os_call(SYS_dup3, s->out_fd, 1, 0);
	close_others();
	s->error = (int)os_call(SYS_execve, s->argv[0], s->argv, no_environment);
	os_call(SYS_exit_group, 127);
}

#ifdef LISTENER_CLONE
/* The child's few frames. One listener, one spawn at a time. */
static char child_stack[16 * 1024] __attribute__((aligned(16)));

static long clone_child(struct start *s)
{
	return listener_clone(CLONE_VM | CLONE_VFORK, child_stack + sizeof child_stack, NULL, NULL, child, s);
}
#else
static long clone_child(struct start *s)
{
	(void)s, (void)child;
	return -ENOSYS;
}
#endif

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

/* Out of the way of 0 and 1, which the child needs. */
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

static int start(struct spawned *s, struct start *how, struct pipes *p)
{
	how->in_fd = p->in[0];
	how->out_fd = p->out[1];
	long pid = clone_child(how);
	if (pid < 0)
		return (int)pid;
	*s = (struct spawned){.pid = (int)pid, .to_fd = p->in[1], .from_fd = p->out[0]};
	p->in[1] = p->out[0] = -1; /* they are s's now */
	if (how->error < 0) {
		spawn_end(s);
		return how->error;
	}
	os_call(SYS_fcntl, s->to_fd, F_SETFL, O_NONBLOCK);
	os_call(SYS_fcntl, s->from_fd, F_SETFL, O_NONBLOCK);
	return 0;
}

int spawn(struct spawned *s, char *const argv[], uint64_t memory_bytes)
{
	struct start how = {.argv = argv, .memory_bytes = memory_bytes};
	struct pipes p = {{-1, -1}, {-1, -1}};
	*s = (struct spawned){.to_fd = -1, .from_fd = -1};
	if (has_confined_itself())
		return -EPERM;
	int r = open_pipe(p.in);
	if (r == 0)
		r = open_pipe(p.out);
	if (r == 0)
		r = start(s, &how, &p);
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

int spawn_write(struct spawned *s, const void *bytes, uint64_t count, unsigned patience_ms)
{
	const char *at = bytes;
	uint64_t until_ns = os_clock_ns(CLOCK_MONOTONIC) + patience_ms * UINT64_C(1000000);
	while (count) {
		long n = os_write(s->to_fd, at, count);
		if (n >= 0) {
			at += n;
			count -= (uint64_t)n;
			continue;
		}
		if (n != -EAGAIN) {
			drop_sigpipe();
			return -EPIPE;
		}
		uint64_t now_ns = os_clock_ns(CLOCK_MONOTONIC);
		if (now_ns >= until_ns)
			return -ETIMEDOUT;
		struct pollfd wait = {.fd = s->to_fd, .events = POLLOUT};
		struct timespec rest = {.tv_nsec = 10 * 1000 * 1000};
		os_call(SYS_ppoll, &wait, 1, &rest, 0, 0);
	}
	return 0;
}

void spawn_close_input(struct spawned *s)
{
	if (s->to_fd >= 0)
		os_close(s->to_fd);
	s->to_fd = -1;
}

int spawn_end(struct spawned *s)
{
	int status = -1;
	spawn_close_input(s);
	if (s->from_fd >= 0)
		os_close(s->from_fd);
	s->from_fd = -1;
	if (s->pid <= 0)
		return -1;
	if (os_call(SYS_wait4, s->pid, &status, WNOHANG | __WALL, 0) == 0) {
		os_call(SYS_kill, s->pid, SIGKILL);
		while (os_call(SYS_wait4, s->pid, &status, __WALL, 0) == -EINTR)
			;
	}
	s->pid = 0;
	return status;
}
