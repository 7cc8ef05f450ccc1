/* listener.c - start what serves, and pass it what the program's threads ask.
 *
 * Runs in: init and app's threads (start, commands; any app lock may be held); the listener, in its handler too
 * (obey_at_once).
 * So: raw system calls alone; waits of the program's threads are for an answer that the handler gives, whatever the
 * listener is
 * about, and bounded.
 *
 * Commands: an app's thread sets a bit in `asked`, sends a signal to the listener and waits until `asked` is zero
 * again. The signal is
 * one of the old numbers, of which the kernel keeps one without an entry of anybody's limit. What takes long is left to
 * `later`, for the loop. (A listener that is a thread has the program's handlers: it reads signal 33 from a signalfd,
 * and
 * obeys when its loop comes round.)
 *
 * Shared: `state` fields are atomic; `commands.lock` serialises those who ask. It is held while libc changes the
 * identity of the
 * program's threads, which sends them signal 33 and waits for them: so that one is not blocked while the lock is
 * waited for.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/listener.h"

#include <linux/capability.h>
#include <linux/close_range.h>
#include <sched.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "shim/base/arena.h"
#include "shim/base/confined.h"
#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/log.h"
#include "shim/base/losses.h"
#include "shim/listener/offspring.h"
#include "shim/base/os.h"
#include "shim/base/powers.h"
#include "shim/listener/scheduling.h"
#include "shim/waits/signals.h"
#include "shim/listener/spawn.h"
#include "shim/base/sync.h"
#include "shim/threads/tasks.h"
#include "shim/base/text.h"
#include "shim/threads/timers.h"
#include "shim/listener/visitor.h"
#include "shim/waits/waits.h"

enum {
	COMMAND_SIGNAL = 16, /* SIGSTKFLT, which no kernel sends */
	WAKE_SIGNAL = SIGNALS_OURS,
	ANSWER_MS = 2000,
	HELD_MS = 10000, /* the longest that the listener waits for an identity to have changed */
	STEP_NS = 100 * 1000,
	KILL_AFTER_MS = 500,
	FAULTS_MOST = 3,
	AGAIN_NS = 1000000000, /* after the kernel had no process for us */
	NO_CORE = 1,           /* bytes: as in spawn.c */
	PTRACER = 0x59616d61,  /* PR_SET_PTRACER */
};

enum { STARTING, READY, FAILED };
enum { ASKED_CREDENTIALS = 1, ASKED_ROOM = 2, ASKED_STOP = 4 };

/* Of a change of identity: the listener waits while the program's thread makes it, then has the same. */
enum { NO_CHANGE, CHANGE_ASKED, CHANGE_HELD, CHANGE_MADE, CHANGE_REFUSED };

bool listener_pending FORKED;

static struct {
	/* immutable after init */
	struct listener_life life;
	/* atomic */
	int tid;   /* 0: no listener; cleared by the kernel when it ends */
	int pid;   /* of the process whose listener it is */
	int child; /* a process that is to be reaped; 0: none */
	uint32_t ready;
	int open_error; /* with READY: 0, or a negative errno */
	uint32_t port;
	uint32_t faults;
	uint64_t again_ns; /* no sooner is another start tried */
	uint64_t cookie;   /* not 0 */
	enum offspring_kind kind;
	int wake_fd; /* the listener's, both */
	int program_fd;
} state FORKED;

static struct offspring_room room FORKED;
static bool ptracer_is_programs; /* it has named its debugger itself: ours would take its place */

static struct {
	struct lock lock; /* signals are blocked while it is held: setuid and bind may be called in handlers */
	uint32_t asked;   /* atomic: bits; a futex */
	uint32_t change;  /* atomic: one of the above; a futex */
	uint32_t later;   /* atomic: bits that the loop has to see to */
	const char *why;  /* atomic: the last line of a listener that is stopped; NULL: none */
} commands FORKED;

/* All but the one by which libc changes identities. */
static uint64_t block_signals(void)
{
	uint64_t most = ~((uint64_t)1 << (SIGNALS_OURS - 1)), before = 0;
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &most, &before, sizeof most);
	return before;
}

static void unblock_signals(uint64_t before)
{
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
}

static void pause_ns(long ns)
{
	struct timespec step = {.tv_nsec = ns};
	os_call(SYS_nanosleep, &step, NULL);
}

static uint64_t take_commands(void)
{
	uint64_t before = block_signals();
	while (!lock_take(&commands.lock,
	                  LOCK_COMMANDS)) /* its holder waits for the listener's answer, which is bounded */
		pause_ns(1000 * 1000);
	return before;
}

static void release_commands(uint64_t before)
{
	lock_release(&commands.lock);
	unblock_signals(before);
}

void listener_configure(const struct listener_life *life)
{
	state.life = *life;
	state.pid = house_pid();
	state.cookie = os_clock_ns(CLOCK_MONOTONIC) | 1;
	scheduling_start();
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

int listener_thread_tid(void)
{
	return state.kind == OFFSPRING_PROCESS ? 0 : __atomic_load_n(&state.tid, __ATOMIC_RELAXED);
}

bool listener_is_me(void)
{
	return offspring_is_me(&room);
}

bool listener_is_inside(void)
{
	return state.kind != OFFSPRING_PROCESS;
}

/* Close what the file table was born with, on a kernel without close_range. */
static void close_all(void)
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
			if (text_parse_uint(span_of(((struct entry *)(buf + at))->name), 10, &fd) && (int)fd != dir)
				os_close((int)fd);
		}
	if (dir >= 0)
		os_close(dir);
}

/* A file table of its own, with nothing in it. (Where the kernel has no such thing and this is an ordinary thread,
 * the table
 * stays the program's: http/address/fd.c keeps out of its way.) */
static bool leave_file_table(void)
{
	long r = os_call(SYS_close_range, 0, ~0u, CLOSE_RANGE_UNSHARE);
	if (r != -ENOSYS)
		return r == 0; /* else no memory, or forbidden: what we close now would be the program's */
	if (state.kind != OFFSPRING_SHARING)
		close_all();
	return true;
}

/* ---- the listener as a process ---- */

static _Noreturn void end(void)
{
	for (;;)
		os_call(SYS_exit_group, 0);
}

static bool has_parent(void)
{
	return os_call(SYS_getppid, 0) == house_pid();
}

/* The kernel tells of the end of whichever thread is taken for the parent now. It forgets to when identities change. */
static void mind_parent(void)
{
	os_call(SYS_prctl, PR_SET_PDEATHSIG, COMMAND_SIGNAL);
	if (!has_parent())
		end();
}

bool listener_has_program(void)
{
	uint64_t seen = 0;
	struct iovec here = {&seen, sizeof seen}, there = {&state.cookie, sizeof seen};
	if (state.kind != OFFSPRING_PROCESS)
		return true;
	if (!has_parent())
		return false;
	long n = os_call(SYS_process_vm_readv, house_pid(), &here, 1, &there, 1, 0);
	/* -ESRCH: its main thread has ended, others have not */
	return n == -ENOSYS || n == -ESRCH || (n == sizeof seen && seen == state.cookie);
}

static void obey_at_once(void);

static void on_command(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info, (void)context;
	obey_at_once();
}

/* A fault of ours is not the program's: this listener ends without a word, another one is started, a few times. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info, (void)context;
	losses_count(listener_fault);
	if (__atomic_add_fetch(&state.faults, 1, __ATOMIC_RELAXED) <= FAULTS_MOST)
		listener_set_pending(true);
	end();
}

#define SIGNAL_BIT(n) ((uint64_t)1 << ((n)-1))

static void take_handlers(void)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
	struct timers_action action = signals_action_of(on_command);
	uint64_t open = SIGNAL_BIT(COMMAND_SIGNAL);
	stack_t alternate = {0};
	alternate.ss_sp = offspring_alternate_stack(&room, &alternate.ss_size);
	os_call(SYS_sigaltstack, &alternate, NULL);
	timers_set_action(COMMAND_SIGNAL, &action, NULL);
	action = signals_action_of(on_fault);
	action.flags |= SA_ONSTACK;
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
		timers_set_action(faults[i], &action, NULL);
		open |= SIGNAL_BIT(faults[i]);
	}
	os_call(SYS_rt_sigprocmask, SIG_UNBLOCK, &open, NULL, sizeof open);
}

/* Away from the program's group, folder, files and limits on what it leaves behind. */
static void stand_apart(void)
{
	const uint64_t core[2] = {NO_CORE, NO_CORE};
	os_call(SYS_setsid, 0);
	os_call(SYS_chdir, "/");
	os_call(SYS_prlimit64, 0, RLIMIT_CORE, core, NULL);
	mind_parent();
}

static int open_wake_fd(void)
{
	uint64_t set = SIGNAL_BIT(WAKE_SIGNAL);
	if (state.kind == OFFSPRING_PROCESS)
		return (int)os_call(SYS_eventfd2, 0, O_CLOEXEC | O_NONBLOCK);
	return (int)os_call(SYS_signalfd4, -1, &set, sizeof set, O_CLOEXEC | O_NONBLOCK);
}

/* The program as a descriptor, readable when it has ended: the kernel sends the parent's signal to nobody whose
 * identity is another, and forgets it. Negative before Linux 5.3. */
static int open_program(void)
{
	enum { PIDFD_OPEN = 434 }; /* on every architecture; not in every libc's headers */
	return state.kind == OFFSPRING_PROCESS ? (int)os_call(PIDFD_OPEN, house_pid(), 0) : -1;
}

static bool program_has_ended(void)
{
	struct pollfd p = {.fd = state.program_fd, .events = POLLIN};
	struct timespec at_once = {0};
	return state.program_fd >= 0 && os_call(SYS_ppoll, &p, 1, &at_once, NULL, 8) > 0;
}

static void tell_starter(uint32_t ready, int open_error)
{
	state.open_error = open_error;
	__atomic_store_n(&state.ready, ready, __ATOMIC_RELEASE);
	os_futex_wake(&state.ready, 1);
}

void listener_has_opened(int error)
{
	tell_starter(READY, error);
}

static void run(void *arg)
{
	(void)arg;
	lock_know_tid(os_tid());
	sampler_thread.busy = true; /* no handler of the program's ever interrupts it: it may take locks at any time */
	if (state.kind == OFFSPRING_PROCESS)
		take_handlers();
	bool left = leave_file_table();
	if (state.kind == OFFSPRING_PROCESS)
		stand_apart();
	scheduling_be_ordinary();
	os_call(SYS_prctl, PR_SET_NAME, "pprofshim");
	state.wake_fd = left ? open_wake_fd() : -1;
	state.program_fd = left ? open_program() : -1;
	if (left)
		state.life.main(state.wake_fd, state.program_fd);
	else
		tell_starter(FAILED, -ENOMEM);
	listener_serves(0);
	if (state.kind == OFFSPRING_PROCESS)
		end();
}

/* ---- start ---- */

/* A process that ended by itself, or was ended. False: it is still on its way. */
static bool reap(void)
{
	int child = __atomic_load_n(&state.child, __ATOMIC_RELAXED);
	if (child && os_call(SYS_wait4, child, NULL, WNOHANG | __WALL, NULL) == 0)
		return false;
	__atomic_store_n(&state.child, 0, __ATOMIC_RELAXED);
	return true;
}

static bool same_link(const char *one, const char *other)
{
	char a[64] = "", b[64] = "";
	os_call(SYS_readlinkat, AT_FDCWD, one, a, sizeof a - 1);
	os_call(SYS_readlinkat, AT_FDCWD, other, b, sizeof b - 1);
	return strcmp(a, b) == 0;
}

/* The program's next child is to be the first of another pid namespace: not ours. */
static bool next_child_is_special(void)
{
	return !same_link("/proc/self/ns/pid", "/proc/self/ns/pid_for_children");
}

static int give_birth(bool in_init)
{
	uint64_t all = ~(uint64_t)0, before;
	if (!reap())
		return -EAGAIN;
	if (!in_init && next_child_is_special())
		return -EPERM;
	__atomic_store_n(&state.ready, STARTING, __ATOMIC_RELAXED);
	__atomic_store_n(&commands.asked, 0, __ATOMIC_RELAXED);
	commands.change = NO_CHANGE;
	commands.later = 0;
	commands.why = NULL;
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
	bool lent = scheduling_lend();
	long r = offspring_listener(&room, run, &state.tid, &state.kind, in_init);
	scheduling_take_back(lent);
	unblock_signals(before);
	if (r < 0)
		return (int)r;
	tasks_hide(TASKS_LISTENER, &state.tid);
	int child = state.kind == OFFSPRING_PROCESS ? __atomic_load_n(&state.tid, __ATOMIC_RELAXED) : 0;
	state.child = child;
	if (child && !ptracer_is_programs)
		os_call(SYS_prctl, PTRACER, child); /* Yama: for what blocked threads wait in */
	if (child) {
		timers_enter_by(visitor_call);
		signals_get_ready();
	}
	return 0;
}

int listener_start(void)
{
	int r = give_birth(true);
	if (r < 0)
		return r;
	struct timespec patience = {.tv_sec = 1};
	while (__atomic_load_n(&state.ready, __ATOMIC_ACQUIRE) == STARTING)
		if (os_futex_wait(&state.ready, STARTING, &patience) == -ETIMEDOUT)
			return 0; /* it comes later */
	return state.open_error;
}

void listener_set_pending(bool pending)
{
	__atomic_store_n(&listener_pending, pending, __ATOMIC_RELAXED);
	waits_watch(WAITS_FOR_LISTENER, pending);
}

static void start_locked(void)
{
	bool expected = true;
	if (!__atomic_compare_exchange_n(&listener_pending, &expected, false, false, __ATOMIC_RELAXED,
	                                 __ATOMIC_RELAXED))
		return;
	int r = give_birth(false);
	if (r == -EAGAIN || r == -ENOMEM)
		__atomic_store_n(&listener_pending, true, __ATOMIC_RELAXED);
	state.again_ns = os_clock_ns(CLOCK_MONOTONIC) + AGAIN_NS;
	waits_watch(WAITS_FOR_LISTENER, listener_pending);
}

/* While an identity changes, none is started: it would have the old one. */
void listener_start_pending(void)
{
	if (confined() || !listener_is_our_process())
		return;
	visitor_start_wanted();
	if (!listener_pending || __atomic_load_n(&commands.lock.word, __ATOMIC_RELAXED) ||
	    (state.again_ns && os_clock_ns(CLOCK_MONOTONIC) < state.again_ns))
		return;
	uint64_t signals = take_commands();
	start_locked();
	release_commands(signals);
}

/* A vfork child sees our memory, but has no listener. Nor has a copy that has not been met yet: what it sees are its
 * parent's numbers, which may be anybody's in another pid namespace. */
static bool is_running_here(void)
{
	return __atomic_load_n(&state.tid, __ATOMIC_RELAXED) > 0 && listener_is_our_process();
}

/* ---- commands, as the program's threads give them ---- */

static long signal_listener(int tid)
{
	return state.kind == OFFSPRING_PROCESS ? os_call(SYS_kill, tid, COMMAND_SIGNAL)
	                                       : os_call(SYS_tgkill, house_pid(), tid, WAKE_SIGNAL);
}

/* Wait until *word is no longer `value`, or the listener is no more. False: in vain. */
static bool await_change(uint32_t *word, uint32_t value, int most_ms)
{
	for (int waited_ms = 0; waited_ms < most_ms; waited_ms += 20) {
		struct timespec step = {.tv_nsec = 20 * 1000 * 1000};
		int tid = __atomic_load_n(&state.tid, __ATOMIC_RELAXED);
		if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
			return true;
		if (tid <= 0 || signal_listener(tid) < 0)
			return __atomic_load_n(word, __ATOMIC_ACQUIRE) != value;
		os_futex_wait(word, value, &step);
	}
	return __atomic_load_n(word, __ATOMIC_ACQUIRE) != value;
}

/* Ask the listener and wait until it has obeyed, or is no more. */
static void ask_locked(uint32_t what)
{
	uint32_t asked = __atomic_or_fetch(&commands.asked, what, __ATOMIC_RELEASE);
	await_change(&commands.asked, asked, ANSWER_MS);
	if (__atomic_load_n(&state.tid, __ATOMIC_RELAXED) <= 0)
		__atomic_store_n(&commands.asked, 0, __ATOMIC_RELAXED);
}

void listener_make_room(void)
{
	uint64_t signals = take_commands();
	ask_locked(ASKED_ROOM);
	release_commands(signals);
}

/* The kernel clears state.tid when it has left our memory, a moment before it is gone; a futex of all processes. */
static bool stop_locked(void)
{
	int tid = __atomic_load_n(&state.tid, __ATOMIC_RELAXED);
	bool is_process = state.kind == OFFSPRING_PROCESS;
	__atomic_or_fetch(&commands.asked, ASKED_STOP, __ATOMIC_RELEASE);
	for (int steps = 0; steps < ANSWER_MS * 1000000LL / STEP_NS; steps++) {
		struct timespec step = {.tv_nsec = STEP_NS};
		int now = __atomic_load_n(&state.tid, __ATOMIC_RELAXED);
		if (now == 0 && (is_process ? reap() : os_call(SYS_tgkill, house_pid(), tid, 0) == -ESRCH))
			return true;
		if (now && steps % 200 == 0 && signal_listener(now) == -EPERM)
			return false;
		if (now && is_process && steps == KILL_AFTER_MS * 1000000LL / STEP_NS)
			os_call(SYS_kill, now, SIGKILL);
		if (now)
			os_call(SYS_futex, &state.tid, FUTEX_WAIT, now, &step);
		else
			os_call(SYS_nanosleep, &step, NULL);
	}
	return false;
}

bool listener_pause(void)
{
	bool visited = visitor_stop();
	if (!is_running_here())
		return visited;
	uint64_t signals = take_commands();
	bool stopped = stop_locked();
	release_commands(signals);
	return stopped;
}

bool listener_stop_for_good(const char *why)
{
	bool was_wanted = __atomic_load_n(&listener_pending, __ATOMIC_RELAXED) || is_running_here();
	listener_set_pending(false);
	__atomic_store_n(&commands.why, why, __ATOMIC_RELAXED);
	listener_pause();
	return was_wanted;
}

void listener_resume(void)
{
	if (state.life.main && !__atomic_load_n(&state.tid, __ATOMIC_RELAXED))
		listener_set_pending(true);
}

/* A vfork child shares our memory, but is another process, and soon another program. */
bool listener_is_our_process(void)
{
	house_look();
	return state.pid == os_pid();
}

void listener_gives_way_to_waits(long options)
{
	if (options & (__WALL | __WCLONE))
		listener_stop_for_good(
			"the program waits for children of every kind (__WALL): nothing is served from now on");
}

void listener_leaves_ptracer_to_program(void)
{
	ptracer_is_programs = true;
}

/* ---- the program's identity ---- */

/* Read by the thread that changed it, under commands.lock; the listener reads it while that thread waits. */
static struct {
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;
	long group_count; /* negative: not known, leave them */
	gid_t few[64];
	gid_t *groups; /* few, or arena memory: the listener may come to read them late */
	bool has_capabilities;
	struct __user_cap_data_struct capabilities[2];
} credentials;

/* Capabilities are a thread's own: one that shed them must not leave a listener behind that has them. */
static struct __user_cap_header_struct capability_header(void)
{
	return (struct __user_cap_header_struct){.version = _LINUX_CAPABILITY_VERSION_3};
}

static void read_credentials(void)
{
	os_call(SYS_getresuid, &credentials.ruid, &credentials.euid, &credentials.suid);
	os_call(SYS_getresgid, &credentials.rgid, &credentials.egid, &credentials.sgid);
	long few = sizeof credentials.few / sizeof *credentials.few, count = os_call(SYS_getgroups, 0, NULL);
	credentials.groups = count > few ? arena_alloc((size_t)count * sizeof(gid_t)) : credentials.few;
	credentials.group_count =
		credentials.groups ? os_call(SYS_getgroups, count > few ? count : few, credentials.groups) : -ENOMEM;
	struct __user_cap_header_struct header = capability_header();
	credentials.has_capabilities = os_call(SYS_capget, &header, credentials.capabilities) == 0;
}

/* Now, while the program may still signal it: the listener stops in its handler until the change is made. One that
 * does not is
 * ended. */
static bool hold_locked(void)
{
	if (state.kind != OFFSPRING_PROCESS)
		return true;
	__atomic_store_n(&commands.change, CHANGE_ASKED, __ATOMIC_RELEASE);
	if (await_change(&commands.change, CHANGE_ASKED, ANSWER_MS) &&
	    __atomic_load_n(&state.tid, __ATOMIC_RELAXED) > 0)
		return true;
	if (__atomic_load_n(&state.tid, __ATOMIC_RELAXED) > 0)
		stop_locked();
	listener_set_pending(true);
	return false;
}

struct listener_hold listener_identity_changes(void)
{
	struct listener_hold h = {0};
	if (!(__atomic_load_n(&state.tid, __ATOMIC_RELAXED) || listener_pending || visitor_is_there()) ||
	    !listener_is_our_process())
		return h;
	h.locked = true;
	h.signals = take_commands();
	visitor_stop();
	h.held = __atomic_load_n(&state.tid, __ATOMIC_RELAXED) > 0 && hold_locked();
	return h;
}

void listener_identity_changed(struct listener_hold h, bool changed)
{
	if (h.held && changed)
		read_credentials();
	if (h.held && state.kind == OFFSPRING_PROCESS) {
		uint32_t made = changed ? CHANGE_MADE : CHANGE_REFUSED;
		__atomic_store_n(&commands.change, made, __ATOMIC_RELEASE);
		os_futex_wake(&commands.change, 1);
		for (int ms = 0; ms < ANSWER_MS && __atomic_load_n(&commands.change, __ATOMIC_ACQUIRE) == made;
		     ms += 20) {
			struct timespec step = {.tv_nsec = 20 * 1000 * 1000};
			if (__atomic_load_n(&state.tid, __ATOMIC_RELAXED) <= 0)
				break;
			os_futex_wait(&commands.change, made, &step);
		}
	} else if (h.held && changed) {
		ask_locked(ASKED_CREDENTIALS);
	}
	if (h.locked)
		release_commands(h.signals);
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

/* Groups may only be changed by the privileged: before a step down, after a step up. */
static void take_credentials(void)
{
	powers_use(true);
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
	powers_use(false);
	if (state.kind == OFFSPRING_PROCESS)
		mind_parent();
}

/* ---- commands, as the listener obeys them ---- */

/* A helper keeps nothing that the program gives up. */
static void follow_change(void)
{
	uint32_t asked = CHANGE_ASKED;
	if (!__atomic_compare_exchange_n(&commands.change, &asked, CHANGE_HELD, false, __ATOMIC_ACQ_REL,
	                                 __ATOMIC_ACQUIRE))
		return;
	os_futex_wake(&commands.change, 1);
	spawn_dismiss();
	uint64_t until_ns = os_clock_ns(CLOCK_MONOTONIC) + HELD_MS * 1000000ull;
	while (__atomic_load_n(&commands.change, __ATOMIC_ACQUIRE) == CHANGE_HELD) {
		struct timespec step = {.tv_nsec = 500 * 1000 * 1000};
		os_futex_wait(&commands.change, CHANGE_HELD, &step);
		if (!has_parent() || os_clock_ns(CLOCK_MONOTONIC) > until_ns)
			end();
	}
	if (__atomic_load_n(&commands.change, __ATOMIC_ACQUIRE) == CHANGE_MADE)
		take_credentials();
	__atomic_store_n(&commands.change, NO_CHANGE, __ATOMIC_RELEASE);
	os_futex_wake(&commands.change, 1);
}

static void leave_for_later(uint32_t what)
{
	const uint64_t one = 1;
	__atomic_or_fetch(&commands.later, what, __ATOMIC_RELEASE);
	os_write(state.wake_fd, &one, sizeof one);
}

static void say_why(void)
{
	const char *why = __atomic_exchange_n(&commands.why, NULL, __ATOMIC_RELAXED);
	if (why)
		log_info(why);
}

/* In the handler, wherever that interrupted the listener. */
static void obey_at_once(void)
{
	if (!has_parent())
		end();
	follow_change();
	uint32_t asked = __atomic_load_n(&commands.asked, __ATOMIC_ACQUIRE);
	if (!asked)
		return;
	if (asked & ASKED_STOP) {
		say_why();
		end();
	}
	if (asked & ASKED_ROOM) {
		state.life.leave_port();
		leave_for_later(ASKED_ROOM);
	}
	__atomic_store_n(&commands.asked, 0, __ATOMIC_RELEASE);
	os_futex_wake(&commands.asked, 1);
}

static void obey_in_thread(void)
{
	uint32_t asked = __atomic_load_n(&commands.asked, __ATOMIC_ACQUIRE);
	if (asked & ASKED_CREDENTIALS) {
		spawn_kill();
		take_credentials();
	}
	if (asked & ASKED_ROOM)
		state.life.move();
	if (asked & ASKED_STOP) {
		say_why();
		state.life.stop();
	}
	__atomic_store_n(&commands.asked, 0, __ATOMIC_RELEASE);
	os_futex_wake(&commands.asked, 1);
}

void listener_obey(void)
{
	char info[128]; /* struct signalfd_siginfo, or a number */
	while (os_read(state.wake_fd, info, sizeof info) > 0)
		continue;
	if (program_has_ended())
		end();
	if (state.kind != OFFSPRING_PROCESS)
		obey_in_thread();
	else if (__atomic_exchange_n(&commands.later, 0, __ATOMIC_ACQUIRE) & ASKED_ROOM)
		state.life.move();
}

FORKED_CODE void listener_fork_child(void)
{
	state.tid = 0;
	state.child = 0;
	state.pid = house_pid();
	state.port = 0;
	state.faults = 0;
	state.again_ns = 0;
	room.memory = NULL;
	commands.asked = 0;
	commands.change = NO_CHANGE;
	visitor_fork_child();
}
