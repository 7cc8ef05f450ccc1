/* listener.c - start the listener, and pass it the requests of the program's threads.
 *
 * Runs in: init and app's threads (start, commands; any app lock may be held); the listener, in its handler too
 * (obey_at_once).
 * So: only raw system calls. A thread of the program waits only for an answer that the handler gives, whatever the
 * listener is doing, and only for a bounded time.
 *
 * Commands: an app's thread sets a bit in `asked`, sends a signal to the listener and waits until the bit is gone
 * again. Longer work is put into `later`, for the loop. (A listener that is a thread shares the program's signal
 * handlers: it reads signal 33 from a signalfd, and obeys in its loop.)
 *
 * Shared: `state` fields are atomic. `commands.lock` orders the start of a listener, and what is said of the program's
 * identity. While it is held nobody is waited for: neither the listener, nor libc, nor the program. So a change of
 * identity, which may take libc long (initgroups asks name services; setuid waits for every thread), is counted in
 * `under_way` before the real function is called, and no lock is held meanwhile.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/listener.h"

#include <linux/close_range.h>
#include <sched.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "shim/base/confined.h"
#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/log.h"
#include "shim/base/losses.h"
#include "shim/base/shared.h"
#include "shim/listener/credentials.h"
#include "shim/listener/offspring.h"
#include "shim/base/os.h"
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
	HELD_MS = 10000, /* at most so long a change of identity is waited for: its thread may have left it by a jump */
	STEP_NS = 100 * 1000,
	KILL_AFTER_MS = 500,
	/* how long the program waits for its listener when it ends, in steps of 100 us, after the tenth of 1 ms; most
	 * take one or two */
	STEPS_TO_OBEY = 20,
	STEPS_OF_HELPER = 500,
	STEPS_TO_DIE = 300,
	FAULTS_MOST = 3,
	AGAIN_NS = 1000000000, /* after the kernel had no process for us */
	NO_CORE = 1,           /* bytes: as in spawn.c */
	PTRACER = 0x59616d61,  /* PR_SET_PTRACER */
};

enum { STARTING, READY, FAILED };
enum { ASKED_CREDENTIALS = 1, ASKED_ROOM = 2, ASKED_STOP = 4 };

shared_bool listener_pending FORKED;
bool listener_was_born FORKED;

static struct {
	/* immutable after init */
	struct listener_life life;
	shared_int tid;   /* 0: no listener; cleared by the kernel when it ends */
	int pid;          /* of the process whose listener it is */
	shared_int child; /* a process that has to be reaped; 0: none */
	shared_u32 ready;
	int open_error; /* with READY: 0, or a negative errno */
	shared_u32 port;
	shared_u32 faults;
	uint64_t again_ns; /* no other start is tried before this time */
	uint64_t cookie;   /* not 0 */
	enum offspring_kind kind;
	int wake_fd; /* the listener's, both */
	int program_fd;
} state FORKED;

static struct offspring_room room FORKED;
static bool ptracer_is_programs FORKED; /* it chose its debugger itself: our choice would replace that */

static struct {
	struct lock lock;         /* signals are blocked while it is held: setuid may be called in handlers */
	shared_u32 asked;         /* bits; a futex */
	shared_u32 change;        /* odd while the program's identity changes, another even number after */
	shared_u32 bell;          /* counts what is written to the two; a futex */
	shared_u32 followed;      /* the `change` that the listener has followed; a futex */
	shared_u32 later;         /* bits that the loop has to handle */
	SHARED(const char *) why; /* the last line of a listener to be stopped; NULL: none */
	/* under the lock */
	uint32_t under_way;  /* changes of identity */
	uint32_t births;     /* of listeners: an older one's changes are not in `under_way` */
	shared_u64 since_ns; /* when the last of them began */
} commands FORKED;

/* All signals but the one by which libc changes identities. */
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

/* Returns false if it can't be had in LOCK_PATIENCE_MS, with the signals as they were. */
static bool take_commands(uint64_t *before)
{
	*before = block_signals();
	if (lock_take(&commands.lock, LOCK_COMMANDS))
		return true;
	unblock_signals(*before);
	return false;
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
	shared_store_relaxed(&state.port, port);
}

bool listener_serves_port(uint16_t port)
{
	return port && shared_load_relaxed(&state.tid) && shared_load_relaxed(&state.port) == port;
}

int listener_thread_tid(void)
{
	return state.kind == OFFSPRING_PROCESS ? 0 : shared_load_relaxed(&state.tid);
}

bool listener_is_me(void)
{
	return offspring_is_me(&room);
}

bool listener_is_inside(void)
{
	return state.kind != OFFSPRING_PROCESS;
}

/* Closes the inherited descriptors, on a kernel without close_range. */
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

/* Gives the listener an empty file table of its own. (If the kernel cannot do that and this is an ordinary thread, the
 * table stays the program's: http/address/fd.c keeps out of its way.) */
static bool leave_file_table(void)
{
	long r = os_call(SYS_close_range, 0, ~0u, CLOSE_RANGE_UNSHARE);
	if (r != -ENOSYS)
		return r == 0; /* else no memory, or forbidden: closing would close the program's descriptors */
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

/* Ends its helper first, which would become an orphan and has the program's memory too. */
static _Noreturn void leave(void)
{
	spawn_leave();
	end();
}

static bool has_parent(void)
{
	return os_call(SYS_getppid, 0) == house_pid();
}

/* The kernel sends a signal when the thread that is now the parent ends. A change of identity cancels that. */
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

/* A fault in the listener must not hurt the program: this listener ends silently, and another one is started, a few
 * times. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info, (void)context;
	losses_count(listener_fault);
	if (shared_add_relaxed(&state.faults, 1) < FAULTS_MOST)
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

/* Leaves the program's session and working directory, and sets its own limits (core file, pending signals). */
static void stand_apart(void)
{
	const uint64_t core[2] = {NO_CORE, NO_CORE}, none[2] = {0, 0};
	os_call(SYS_setsid, 0);
	os_call(SYS_chdir, "/");
	os_call(SYS_prlimit64, 0, RLIMIT_CORE, core, NULL);
	os_call(SYS_prlimit64, 0, RLIMIT_SIGPENDING, none, NULL); /* see signal_listener */
	mind_parent();
}

static int open_wake_fd(void)
{
	uint64_t set = SIGNAL_BIT(WAKE_SIGNAL);
	if (state.kind == OFFSPRING_PROCESS)
		return (int)os_call(SYS_eventfd2, 0, O_CLOEXEC | O_NONBLOCK);
	return (int)os_call(SYS_signalfd4, -1, &set, sizeof set, O_CLOEXEC | O_NONBLOCK);
}

/* Opens a descriptor that becomes readable when the program has ended. The kernel sends no parent-death signal to a
 * process with another identity, and cancels it on changes. Negative before Linux 5.3. */
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
	shared_store_release(&state.ready, ready);
	os_futex_wake(shared_word(&state.ready), 1);
}

void listener_has_opened(int error)
{
	tell_starter(READY, error);
}

static void run(void *arg)
{
	(void)arg;
	lock_know_tid(os_tid());
	self.busy = true; /* no handler of the program ever interrupts it: it may take locks at any time */
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

/* Reaps a listener that has ended. Returns false if it has not ended yet. */
static bool reap(void)
{
	int child = shared_load_relaxed(&state.child);
	if (child && os_call(SYS_wait4, child, NULL, WNOHANG | __WALL, NULL) == 0)
		return false;
	/* another thread may have reaped it, and started the next one */
	shared_cas_relaxed(&state.child, &child, 0);
	return true;
}

static bool same_link(const char *one, const char *other)
{
	char a[64] = "", b[64] = "";
	os_call(SYS_readlinkat, AT_FDCWD, one, a, sizeof a - 1);
	os_call(SYS_readlinkat, AT_FDCWD, other, b, sizeof b - 1);
	return strcmp(a, b) == 0;
}

/* The program's next child will be the first process of another pid namespace: that must not be ours. */
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
	shared_store_relaxed(&state.ready, STARTING);
	shared_store_relaxed(&commands.asked, 0);
	shared_set_own(&commands.change, 0);
	shared_set_own(&commands.followed, 0);
	shared_set_own(&commands.later, 0);
	shared_set_own(&commands.why, NULL);
	commands.under_way = 0;
	commands.births++;
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
	bool lent = scheduling_lend();
	long r = offspring_listener(&room, run, &state.tid, &state.kind, in_init);
	scheduling_take_back(lent);
	unblock_signals(before);
	if (r < 0)
		return (int)r;
	tasks_hide(TASKS_LISTENER, &state.tid);
	int child = state.kind == OFFSPRING_PROCESS ? shared_load_relaxed(&state.tid) : 0;
	shared_set_own(&state.child, child);
	listener_was_born |= child != 0;
	if (child && !ptracer_is_programs)
		os_call(SYS_prctl, PTRACER, child); /* Yama: the listener reads what blocked threads wait in */
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
	while (shared_load_acquire(&state.ready) == STARTING)
		if (os_futex_wait(shared_word(&state.ready), STARTING, &patience) == -ETIMEDOUT)
			return 0; /* it comes later */
	return state.open_error;
}

void listener_set_pending(bool pending)
{
	shared_store_relaxed(&listener_pending, pending);
	waits_watch(WAITS_FOR_LISTENER, pending);
}

static void start_locked(void)
{
	bool expected = true;
	if (!shared_cas_relaxed(&listener_pending, &expected, false))
		return;
	int r = give_birth(false);
	if (r == -EAGAIN || r == -ENOMEM)
		shared_store_relaxed(&listener_pending, true);
	state.again_ns = os_clock_ns(CLOCK_MONOTONIC) + AGAIN_NS;
	waits_watch(WAITS_FOR_LISTENER, shared_glance(&listener_pending));
}

bool listener_identity_is_changing(void)
{
	return shared_load_acquire(&commands.change) & 1 &&
	       os_clock_ns(CLOCK_MONOTONIC) < shared_load_relaxed(&commands.since_ns) + HELD_MS * 1000000ull;
}

/* No listener is started while an identity changes: it would have the old one. */
void listener_start_pending(void)
{
	uint64_t signals;
	if (confined() || !listener_is_our_process())
		return;
	visitor_start_wanted();
	if (!shared_glance(&listener_pending) || shared_load_relaxed(&commands.lock.word) ||
	    (state.again_ns && os_clock_ns(CLOCK_MONOTONIC) < state.again_ns) || !take_commands(&signals))
		return;
	if (!listener_identity_is_changing())
		start_locked();
	release_commands(signals);
}

/* A vfork child sees our memory, but has no listener. Nor has a copy of the process that we have not noticed yet: it
 * sees its parent's numbers, which may belong to any process in another pid namespace. */
static bool is_running_here(void)
{
	return shared_load_relaxed(&state.tid) > 0 && listener_is_our_process();
}

/* ---- commands, as the program's threads give them ---- */

/* Sends one of the standard signals by tgkill to a process whose limit of pending signals is 0. Then the kernel notes
 * the signal without using an entry of anyone's limit. An entry that stays in use until the listener runs may be the
 * one that libc lacks to change the identity of a thread. */
static long signal_listener(int tid)
{
	return state.kind == OFFSPRING_PROCESS ? os_call(SYS_tgkill, tid, tid, COMMAND_SIGNAL)
	                                       : os_call(SYS_tgkill, house_pid(), tid, WAKE_SIGNAL);
}

/* Does the program have another identity than the listener? Then it may have no permission to signal the listener, but
 * it did so before the change. */
static bool is_behind(void)
{
	return shared_load_acquire(&commands.followed) != shared_load_relaxed(&commands.change);
}

/* A listener that waits for the end of a change of identity hears this. */
static void ring(void)
{
	shared_add_release(&commands.bell, 1);
	os_futex_wake(shared_word(&commands.bell), 1);
}

static void want(uint32_t what)
{
	shared_or_release(&commands.asked, what);
	ring();
}

/* Waits until *word, of which only these bits count, is no longer `value`, or the listener is gone. */
static void await_change(shared_u32 *word, uint32_t bits, uint32_t value)
{
	for (int waited_ms = 0; waited_ms < ANSWER_MS; waited_ms += 20) {
		struct timespec step = {.tv_nsec = 20 * 1000 * 1000};
		int tid = shared_load_relaxed(&state.tid);
		uint32_t now = shared_load_acquire(word);
		if ((now & bits) != value || tid <= 0 || (signal_listener(tid) < 0 && !is_behind()))
			return;
		os_futex_wait(shared_word(word), now, &step);
	}
}

/* Asks the listener and waits until it has obeyed, or is gone. */
static void ask(uint32_t what)
{
	want(what);
	await_change(&commands.asked, what, what);
	if (shared_load_relaxed(&state.tid) <= 0)
		shared_and_relaxed(&commands.asked, ~what);
}

void listener_make_room(void)
{
	ask(ASKED_ROOM);
}

/* The kernel clears state.tid when the listener has left our memory, a moment before it is gone. The futex there is
 * shared between processes. */
static bool stop(void)
{
	int tid = shared_load_relaxed(&state.tid);
	bool is_process = state.kind == OFFSPRING_PROCESS;
	want(ASKED_STOP);
	for (int steps = 0; steps < ANSWER_MS * 1000000LL / STEP_NS; steps++) {
		struct timespec step = {.tv_nsec = STEP_NS};
		int now = shared_load_relaxed(&state.tid);
		if (now == 0 && (is_process ? reap() : os_call(SYS_tgkill, house_pid(), tid, 0) == -ESRCH))
			return true;
		if (now && now != tid) /* another thread has started the next one */
			return true;
		if (now && steps % 200 == 0 && signal_listener(now) == -EPERM && !is_behind())
			return false;
		if (now && is_process && steps == KILL_AFTER_MS * 1000000LL / STEP_NS)
			os_call(SYS_kill, now, SIGKILL);
		if (now)
			os_call(SYS_futex, shared_word(&state.tid), FUTEX_WAIT, now, &step);
		else
			os_call(SYS_nanosleep, &step, NULL);
	}
	return false;
}

/* A thread that starts a listener holds the lock until that is born. */
static void await_birth(void)
{
	uint64_t signals;
	if (shared_load_seq_cst(&commands.lock.word) && listener_is_our_process() && take_commands(&signals))
		release_commands(signals);
}

bool listener_pause(void)
{
	bool visited = visitor_stop();
	await_birth();
	return is_running_here() ? stop() : visited;
}

bool listener_gives_way_to_thread(void)
{
	return !confined() && is_running_here() && listener_pause();
}

bool listener_stop_for_good(const char *why)
{
	if (!listener_is_our_process())
		return false;
	bool was_wanted = shared_load_relaxed(&listener_pending) || is_running_here();
	listener_set_pending(false);
	shared_store_relaxed(&commands.why, why);
	listener_pause();
	return was_wanted;
}

/* ---- the program's end ---- */

/* Waits until it is gone and reaped: an orphan would become the child of a process that does not expect it. Counted in
 * steps in which the program had a processor: on a busy machine they take longer, for both. */
static bool await_end(int steps)
{
	for (int i = 0, tid; i < steps; i++) {
		struct timespec step = {.tv_nsec = i < 10 ? STEP_NS : 10 * STEP_NS};
		if ((tid = shared_load_acquire(&state.tid)) != 0)
			os_call(SYS_futex, shared_word(&state.tid), FUTEX_WAIT, tid, &step);
		else if (!reap())
			os_call(SYS_nanosleep, &step, NULL);
		else
			return true;
	}
	return false;
}

/* Takes no lock: another thread may hold it for long. First asks the listener to stop, so that it can end and reap its
 * helper; a stopped one only reacts to SIGKILL. */
static void end_at_once(void)
{
	int tid = shared_load_relaxed(&state.tid);
	listener_set_pending(false);
	if (state.kind != OFFSPRING_PROCESS)
		return;
	want(ASKED_STOP);
	if ((tid > 0 && signal_listener(tid) < 0) || await_end(STEPS_TO_OBEY) ||
	    (spawn_is_running() && await_end(STEPS_OF_HELPER)))
		return;
	if ((tid = shared_load_relaxed(&state.tid)) > 0 && os_call(SYS_kill, tid, SIGKILL) == 0)
		await_end(STEPS_TO_DIE);
}

void listener_ends_with_program(void)
{
	if (confined() || !listener_is_our_process())
		return;
	block_signals();
	end_at_once();
}

void listener_ends_for_abort(void)
{
	if (confined() || !is_running_here())
		return;
	uint64_t signals = block_signals();
	end_at_once();
	listener_resume();
	unblock_signals(signals);
}

void listener_resume(void)
{
	if (state.life.main && !shared_load_relaxed(&state.tid))
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
	if (listener_is_our_process())
		ptracer_is_programs = true;
}

/* ---- the program's identity ---- */

static struct credentials credentials;
static uint32_t version_taken; /* the listener's */

/* Says that the identity changes, while the program may still signal the listener: from here on that first looks at
 * commands.change, and waits while it is odd. A listener that can't be told ends, and another one comes. */
static void announce_locked(void)
{
	bool was_behind = is_behind();
	int tid = shared_load_relaxed(&state.tid);
	shared_or_seq_cst(&commands.change, 1);
	shared_store_relaxed(&commands.since_ns, os_clock_ns(CLOCK_MONOTONIC));
	if (state.kind != OFFSPRING_PROCESS || tid <= 0 || signal_listener(tid) == 0 || was_behind)
		return;
	want(ASKED_STOP);
	listener_set_pending(true);
}

struct listener_hold listener_identity_changes(void)
{
	struct listener_hold h = {0};
	uint64_t signals;
	if (!(shared_load_relaxed(&state.tid) || shared_glance(&listener_pending) || visitor_is_there()) ||
	    !listener_is_our_process())
		return h;
	h.begun = true;
	if (take_commands(&signals)) {
		announce_locked();
		commands.under_way++;
		h.births = commands.births;
		h.counted = true;
		release_commands(signals);
	}
	visitor_stop(); /* no other one is made from here on */
	return h;
}

/* Was it counted, and is it still? If not, the listener does not know of it yet. */
static void count_off_locked(const struct listener_hold *h)
{
	if (h->counted && h->births == commands.births && commands.under_way)
		commands.under_way--;
	else
		announce_locked();
}

void listener_identity_changed(struct listener_hold h, bool changed)
{
	uint64_t signals;
	if (!h.begun)
		return;
	visitor_stop();
	if (!take_commands(&signals)) { /* nothing can be said, so nobody may go on */
		listener_set_pending(true);
		want(ASKED_STOP);
		return;
	}
	count_off_locked(&h);
	if (changed)
		credentials_read(&credentials);
	if (!commands.under_way)
		shared_add_seq_cst(&commands.change, 1);
	ring();
	release_commands(signals);
	if (changed && state.kind != OFFSPRING_PROCESS && is_running_here())
		ask(ASKED_CREDENTIALS);
}

void listener_groups_changed(void)
{
	struct listener_hold h = {
		.begun = (shared_load_relaxed(&state.tid) || shared_glance(&listener_pending) || visitor_is_there()) &&
	                 listener_is_our_process()};
	listener_identity_changed(h, true);
}

void listener_await_identity(void)
{
	if (!is_behind() || !listener_is_our_process())
		return;
	await_change(&commands.followed, ~0u, shared_load_acquire(&commands.followed));
}

/* A change of identity makes all processes that share the memory undumpable: the program may have made itself dumpable
 * since. */
static bool take_without_a_trace(const struct credentials *c)
{
	bool was_dumpable = os_call(SYS_prctl, PR_GET_DUMPABLE) == 1;
	bool taken = credentials_take(c);
	if (was_dumpable && os_call(SYS_prctl, PR_GET_DUMPABLE) != 1)
		os_call(SYS_prctl, PR_SET_DUMPABLE, 1);
	mind_parent();
	return taken;
}

/* ---- commands, as the listener obeys them ---- */

/* Ends this listener and has another one started, with the right identity from birth. */
static _Noreturn void give_place(void)
{
	listener_set_pending(true);
	end();
}

static void obey_asked(void);

/* Meanwhile it ends, or leaves its port, if another thread of the program wants that. */
static void await_outcome(uint32_t change)
{
	uint64_t until_ns = os_clock_ns(CLOCK_MONOTONIC) + HELD_MS * 1000000ull;
	for (;;) {
		struct timespec step = {.tv_nsec = 500 * 1000 * 1000};
		uint32_t bell = shared_load_acquire(&commands.bell);
		if (shared_load_acquire(&commands.change) != change)
			return;
		obey_asked();
		os_futex_wait(shared_word(&commands.bell), bell, &step);
		if (!has_parent())
			end();
		if (os_clock_ns(CLOCK_MONOTONIC) > until_ns)
			give_place();
	}
}

/* Ends the helper: it must keep nothing that the program gives up. */
static void take_identity(uint32_t change)
{
	struct credentials c = credentials;
	shared_fence_acquire();
	if (shared_load_relaxed(&commands.change) != change)
		return; /* it is being written to */
	if (c.version != version_taken) {
		spawn_dismiss();
		bool taken = take_without_a_trace(&c);
		if (!taken && shared_load_acquire(&commands.change) == change)
			give_place();
		version_taken = c.version;
	}
	shared_store_release(&commands.followed, change);
	os_futex_wake(shared_word(&commands.followed), INT32_MAX);
}

static void follow_changes(void)
{
	for (uint32_t change; (change = shared_load_acquire(&commands.change)) != shared_own(&commands.followed);) {
		if (change & 1)
			await_outcome(change);
		else
			take_identity(change);
	}
}

static void leave_for_later(uint32_t what)
{
	const uint64_t one = 1;
	shared_or_release(&commands.later, what);
	os_write(state.wake_fd, &one, sizeof one);
}

static void say_why(void)
{
	const char *why = shared_exchange_relaxed(&commands.why, NULL);
	if (why)
		log_info(why);
}

static void have_obeyed(uint32_t what)
{
	shared_and_release(&commands.asked, ~what);
	os_futex_wake(shared_word(&commands.asked), INT32_MAX);
}

static void obey_asked(void)
{
	uint32_t asked = shared_load_acquire(&commands.asked);
	if (!asked)
		return;
	if (asked & ASKED_STOP) {
		say_why();
		leave();
	}
	if (asked & ASKED_ROOM) {
		state.life.leave_port();
		leave_for_later(ASKED_ROOM);
	}
	have_obeyed(asked);
}

/* Runs in the handler, at any point of the listener. */
static void obey_at_once(void)
{
	if (!has_parent())
		leave();
	follow_changes();
	obey_asked();
}

/* By the handler, which must not interrupt itself here. */
void listener_look(void)
{
	int tid = shared_load_relaxed(&state.tid);
	if (state.kind == OFFSPRING_PROCESS && (is_behind() || shared_load_relaxed(&commands.asked)))
		signal_listener(tid);
}

static void obey_in_thread(void)
{
	uint32_t asked = shared_load_acquire(&commands.asked);
	if (asked & ASKED_CREDENTIALS) {
		spawn_kill();
		credentials_take(&credentials);
	}
	if (asked & ASKED_ROOM)
		state.life.move();
	if (asked & ASKED_STOP) {
		say_why();
		state.life.stop();
	}
	have_obeyed(asked);
}

void listener_obey(void)
{
	char info[128]; /* struct signalfd_siginfo, or a number */
	while (os_read(state.wake_fd, info, sizeof info) > 0)
		continue;
	if (program_has_ended())
		leave();
	if (state.kind != OFFSPRING_PROCESS)
		obey_in_thread();
	else if (shared_exchange_acquire(&commands.later, 0) & ASKED_ROOM)
		state.life.move();
}

FORKED_CODE void listener_fork_child(void)
{
	shared_set_own(&state.tid, 0);
	shared_set_own(&state.child, 0);
	listener_was_born = false;
	state.pid = house_pid();
	shared_set_own(&state.port, 0);
	shared_set_own(&state.faults, 0);
	state.again_ns = 0;
	room.memory = NULL;
	ptracer_is_programs = false; /* the child has no such debugger */
	shared_set_own(&commands.asked, 0);
	shared_set_own(&commands.change, 0);
	shared_set_own(&commands.followed, 0);
	commands.under_way = 0;
	visitor_fork_child();
}
