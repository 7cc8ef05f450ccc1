/* listener.c - start the serving thread, and pass it what the program's threads ask.
 *
 * Runs in: init and app's threads (start, commands; any app lock may be held); the listener (obey).
 * So: raw system calls alone; the one wait is for the listener's answer, and it is bounded.
 *
 * Commands: an app's thread sets a bit in `asked`, sends a signal to the listener's tid and waits until `asked` is
 * zero again. The signal is blocked in the listener, as all are, and is read from a signalfd; it never
 * reaches a handler of the program.
 *
 * Shared: `state` fields are atomic; `commands.lock` serialises those who ask.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener.h"

#include <linux/capability.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "shim/arena.h"
#include "shim/layout.h"
#include "shim/listener_thread.h"
#include "shim/os.h"
#include "shim/spawn.h"
#include "shim/sync.h"
#include "shim/text.h"
#include "shim/waits.h"

enum {
	/* A signalfd takes a signal that was sent to the whole process, too: so one that programs can't use. libc's
	 * own (33, for setuid & co.) is always sent to a single thread, and never to ours. */
	WAKE_SIGNAL = 33,
	ANSWER_MS = 2000,
};

enum { STARTING, READY, FAILED };
enum { ASKED_CREDENTIALS = 1, ASKED_ROOM = 2, ASKED_STOP = 4 };

bool listener_pending FORKED;

static struct {
	/* immutable after init */
	void (*main)(int, int);
	void (*move)(void);
	void (*stop)(void);
	/* atomic */
	int tid; /* 0: no listener; cleared by the kernel when it ends */
	int pid; /* of the process whose listener it is */
	uint32_t ready;
	uint32_t port;
	/* written by the starter, read by the new thread */
	int listen_fd;
	bool own_table; /* it was born with a file table of its own */
} state FORKED;

static struct {
	struct lock lock; /* all signals are blocked while it is held: setuid and bind may be called in handlers */
	uint32_t asked;   /* atomic: bits; a futex */
} commands FORKED;

static uint64_t take_commands(void)
{
	uint64_t all = ~(uint64_t)0, before = 0;
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
	struct timespec step = {.tv_nsec = 1000 * 1000};
	while (!lock_take(&commands.lock, LOCK_COMMANDS)) /* its holder waits for the listener's answer, which is bounded */
		os_call(SYS_nanosleep, &step, NULL);
	return before;
}

static void release_commands(uint64_t before)
{
	lock_release(&commands.lock);
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
}

void listener_configure(void (*main)(int, int), void (*move)(void), void (*stop)(void))
{
	state.main = main;
	state.move = move;
	state.stop = stop;
	state.pid = os_pid();
}

void listener_serves(uint16_t port)
{
	__atomic_store_n(&state.port, port, __ATOMIC_RELAXED);
}

bool listener_serves_port(uint16_t port)
{
	return port && __atomic_load_n(&state.tid, __ATOMIC_RELAXED) &&
	       __atomic_load_n(&state.port, __ATOMIC_RELAXED) == port;
}

int listener_tid(void)
{
	return __atomic_load_n(&state.tid, __ATOMIC_RELAXED);
}

/* Close what the file table was born with, but for `keep`, on a kernel without close_range. */
static void close_all_but(int keep)
{
	struct entry { /* linux_dirent64 */
		uint64_t ino, off;
		unsigned short bytes;
		unsigned char type;
		char name[];
	};
	_Alignas(struct entry) char buf[2048];
	int dir = (int)os_open("/proc/thread-self/fd", O_RDONLY | O_DIRECTORY);
	for (long n; dir >= 0 && (n = os_call(SYS_getdents64, dir, buf, sizeof buf)) > 0;)
		for (long at = 0; at < n; at += ((struct entry *)(buf + at))->bytes) {
			uint64_t fd;
			if (text_parse_uint(span_of(((struct entry *)(buf + at))->name), 10, &fd) && (int)fd != keep &&
			    (int)fd != dir)
				os_close((int)fd);
		}
	if (dir >= 0)
		os_close(dir);
}

/* A file table of this thread alone, that holds nothing but listen_fd. (Where the kernel has no such thing and the
 * thread is an ordinary one, the table stays the program's: http/address/fd.c keeps out of its way.) */
static bool leave_file_table(int keep)
{
	if (state.own_table) {
		close_all_but(keep);
		return true;
	}
	unsigned after = keep < 0 ? 0 : (unsigned)keep + 1;
	long r = os_call(SYS_close_range, after, ~0u, CLOSE_RANGE_UNSHARE);
	if (r == -ENOSYS)
		return true; /* shared, and left alone */
	if (r < 0)
		return false; /* no memory, or forbidden: what we close now would be the program's */
	if (keep > 0)
		os_call(SYS_close_range, 0, keep - 1, 0);
	return true;
}

static int open_wake_fd(void)
{
	uint64_t set = (uint64_t)1 << (WAKE_SIGNAL - 1);
	return (int)os_call(SYS_signalfd4, -1, &set, sizeof set, O_CLOEXEC | O_NONBLOCK);
}

static void be_ordinary(void)
{
	struct sched_param none = {0};
	if (os_call(SYS_sched_getscheduler, 0) > 0) /* a real-time thread may have started us */
		os_call(SYS_sched_setscheduler, 0, SCHED_OTHER, &none);
	os_call(SYS_prctl, PR_SET_NAME, "pprofshim");
}

static void run(void *arg)
{
	(void)arg;
	lock_know_tid(os_tid());
	sampler_thread.busy = true; /* no handler of the program's ever interrupts it: it may take locks at any time */
	int listen_fd = state.listen_fd;
	bool left = leave_file_table(listen_fd);
	be_ordinary();
	int wake_fd = left ? open_wake_fd() : -1;
	__atomic_store_n(&state.ready, left ? READY : FAILED, __ATOMIC_RELEASE);
	os_futex_wake(&state.ready, 1);
	if (left)
		state.main(listen_fd, wake_fd);
	listener_serves(0);
}

int listener_start(int listen_fd)
{
	uint64_t all = ~(uint64_t)0, before;
	state.listen_fd = listen_fd;
	__atomic_store_n(&state.ready, STARTING, __ATOMIC_RELAXED);
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
	long r = listener_thread_start(run, &state.tid, &state.own_table, listen_fd >= 0);
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
	if (r < 0)
		return (int)r;
	struct timespec patience = {.tv_sec = 1};
	/* the caller's listen_fd must not be closed before the thread has its own */
	while (listen_fd >= 0 && __atomic_load_n(&state.ready, __ATOMIC_ACQUIRE) == STARTING)
		os_futex_wait(&state.ready, STARTING, &patience);
	return __atomic_load_n(&state.ready, __ATOMIC_RELAXED) == FAILED ? -ENOMEM : 0;
}

void listener_set_pending(bool pending)
{
	__atomic_store_n(&listener_pending, pending, __ATOMIC_RELAXED);
	waits_watch(WAITS_FOR_LISTENER, pending);
}

void listener_start_pending(void)
{
	bool expected = true;
	/* a vfork child shares our memory, but is another process, and soon another program */
	if (state.pid != os_pid() ||
	    !__atomic_compare_exchange_n(&listener_pending, &expected, false, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return;
	waits_watch(WAITS_FOR_LISTENER, false);
	listener_start(-1);
}

/* A vfork child sees our memory, but has no listener. */
static bool is_running_here(void)
{
	return __atomic_load_n(&state.tid, __ATOMIC_RELAXED) > 0 && state.pid == os_pid();
}

/* Ask the listener and wait until it has obeyed, or is no more; if it is busy for longer than ANSWER_MS, it will obey
 * when it looks. */
static void ask_locked(uint32_t what)
{
	__atomic_fetch_or(&commands.asked, what, __ATOMIC_RELEASE);
	for (int waited_ms = 0; waited_ms < ANSWER_MS; waited_ms += 20) {
		uint32_t asked = __atomic_load_n(&commands.asked, __ATOMIC_ACQUIRE);
		int tid = __atomic_load_n(&state.tid, __ATOMIC_RELAXED);
		if (!asked)
			return;
		if (tid <= 0 || os_call(SYS_tgkill, os_pid(), tid, WAKE_SIGNAL) < 0) {
			__atomic_store_n(&commands.asked, 0, __ATOMIC_RELAXED);
			return;
		}
		struct timespec step = {.tv_nsec = 20 * 1000 * 1000};
		os_futex_wait(&commands.asked, asked, &step);
	}
}

void listener_make_room(void)
{
	uint64_t signals = take_commands();
	ask_locked(ASKED_ROOM);
	release_commands(signals);
}

/* The kernel clears state.tid when the thread has left our memory, a moment before it is gone. */
bool listener_pause(void)
{
	int tid = __atomic_load_n(&state.tid, __ATOMIC_RELAXED);
	if (!is_running_here())
		return false;
	uint64_t signals = take_commands();
	ask_locked(ASKED_STOP);
	release_commands(signals);
	struct timespec step = {.tv_nsec = 1000 * 1000};
	for (int waited_ms = 0; waited_ms < ANSWER_MS; waited_ms++) {
		if (os_call(SYS_tgkill, os_pid(), tid, 0) == -ESRCH)
			return true;
		os_call(SYS_nanosleep, &step, NULL);
	}
	return false;
}

void listener_stop_for_good(void)
{
	__atomic_store_n(&listener_pending, false, __ATOMIC_RELAXED);
	listener_pause();
}

bool listener_is_our_process(void)
{
	return state.pid == os_pid();
}

void listener_resume(void)
{
	listener_set_pending(true);
}

/* The program's identity, read by the thread that changed it. Under commands.lock; the listener reads it
 * while that thread waits. */
static struct {
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;
	long group_count; /* negative: not known, leave them */
	gid_t few[64];
	gid_t *groups; /* few, or arena memory: the listener may come to read them late */
	bool has_capabilities;
	struct __user_cap_data_struct capabilities[2];
} credentials;

/* Capabilities are a thread's own: one that shed them must not leave a thread behind that has them. */
static struct __user_cap_header_struct capability_header(void)
{
	return (struct __user_cap_header_struct){.version = _LINUX_CAPABILITY_VERSION_3};
}

void listener_follow_credentials(void)
{
	if (!is_running_here())
		return;
	uint64_t signals = take_commands();
	os_call(SYS_getresuid, &credentials.ruid, &credentials.euid, &credentials.suid);
	os_call(SYS_getresgid, &credentials.rgid, &credentials.egid, &credentials.sgid);
	long few = sizeof credentials.few / sizeof *credentials.few, count = os_call(SYS_getgroups, 0, NULL);
	credentials.groups = count > few ? arena_alloc((size_t)count * sizeof(gid_t)) : credentials.few;
	credentials.group_count =
	    credentials.groups ? os_call(SYS_getgroups, count > few ? count : few, credentials.groups) : -ENOMEM;
	struct __user_cap_header_struct header = capability_header();
	credentials.has_capabilities = os_call(SYS_capget, &header, credentials.capabilities) == 0;
	ask_locked(ASKED_CREDENTIALS);
	release_commands(signals);
}

static void take_groups(void)
{
	if (credentials.group_count >= 0)
		os_call(SYS_setgroups, credentials.group_count, credentials.groups);
	os_call(SYS_setresgid, credentials.rgid, credentials.egid, credentials.sgid);
}

static void take_users(void)
{
	os_call(SYS_setresuid, credentials.ruid, credentials.euid, credentials.suid);
}

/* The capabilities in effect: all that the thread is permitted, to follow the program; none, to serve. */
static void set_effective(bool all)
{
	struct __user_cap_header_struct header = capability_header();
	struct __user_cap_data_struct data[2];
	if (os_call(SYS_capget, &header, data) < 0)
		return;
	for (int i = 0; i < 2; i++)
		data[i].effective = all ? data[i].permitted : 0;
	os_call(SYS_capset, &header, data);
}

void listener_serve_unprivileged(void)
{
	set_effective(false);
}

/* Groups may only be changed by the privileged: before a step down, after a step up. */
static void take_credentials(void)
{
	set_effective(true);
	if (os_call(SYS_geteuid, 0) == 0) {
		take_groups();
		take_users();
	} else {
		take_users();
		take_groups();
	}
	struct __user_cap_header_struct header = capability_header();
	if (credentials.has_capabilities)
		os_call(SYS_capset, &header, credentials.capabilities);
	set_effective(false);
}

void listener_obey(int wake_fd)
{
	char info[128]; /* struct signalfd_siginfo */
	while (os_read(wake_fd, info, sizeof info) > 0)
		continue;
	uint32_t asked = __atomic_load_n(&commands.asked, __ATOMIC_ACQUIRE);
	if (asked & ASKED_CREDENTIALS)
		spawn_kill();
	if (asked & ASKED_CREDENTIALS)
		take_credentials();
	if (asked & ASKED_ROOM)
		state.move();
	if (asked & ASKED_STOP)
		state.stop();
	__atomic_store_n(&commands.asked, 0, __ATOMIC_RELEASE);
	os_futex_wake(&commands.asked, 1);
}

FORKED_CODE void listener_fork_child(void)
{
	state.tid = 0;
	state.pid = os_pid();
	state.port = 0;
	listener_thread_fork_child();
	commands.asked = 0;
}
