/* restart.c - resume a system call that our signal cut short, so that the program does not notice.
 *
 * Runs in: our signal handler; before handlers of the program's (restart_give_up); app's thread, in the middle of a
 * system call as the program sees it (move_rest); listener (restart_look). So: no lock, no allocation, no libc, errno
 * untouched; in the middle of a system call only general registers. The program's code and memory is read in ways that
 * cannot fault: a handler may not read what the thread itself may (protection keys), nor anybody what is only executed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/waits/restart.h"

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "shim/arch/entries.h"
#include "shim/base/confined.h"
#include "shim/base/os.h"
#include "shim/base/peek.h"
#include "shim/base/shared.h"
#include "shim/waits/calls.h"
#include "shim/waits/signals.h"
#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"
#include "shim/waits/waits.h"

#if ARCH_HAS_RESTART
/* Do system calls leave their return address in a register? 0: not known yet; 1: no; 2: yes. */
static shared_u32 calls_tell;

static bool do_calls_tell(void)
{
	uint32_t tell = shared_load_relaxed(&calls_tell);
	if (!tell && !confined()) {
		tell = arch_calls_tell_handlers() ? 2 : 1;
		shared_store_relaxed(&calls_tell, tell);
	}
	return tell != 1;
}

/* Where the registers say no, which is mostly, the code is not looked at. */
static bool is_before_call(const ucontext_t *u)
{
	struct arch_code code;
	return (arch_may_be_again(u) || !do_calls_tell()) && waits_code_at((uintptr_t)ARCH_PC(u), &code) &&
	       arch_is_call(&code);
}

static bool is_after_call(const ucontext_t *u, struct arch_code *code)
{
	return (arch_may_be_after_call(u) || !do_calls_tell()) && waits_code_at((uintptr_t)ARCH_PC(u), code) &&
	       arch_is_after_call(code);
}

/* Returns the number that the code loads right before it makes the call; -1 if it can't be seen. */
static long number_in_code(const struct arch_code *code)
{
	long nr = arch_number_before(code);
	return nr >= 0 && calls_again(nr, FUTEX_WAIT) != CALLS_NEVER ? nr : -1;
}

static struct restart *restart_of_self(void)
{
	return threads_self() ? &threads_self()->restart : NULL;
}

/* Copies what the listener noted, consistently. Returns false if there is no note. */
static bool read_note(const struct restart *r, struct restart *note)
{
	uint32_t number = r ? shared_load_acquire(&r->number) : 1;
	if (number & 1)
		return false;
	*note = *r;
	shared_fence_acquire();
	return shared_load_relaxed(&r->number) == number && note->nr >= 0;
}

/* Is the note about the call that was interrupted in this context? The place and the arguments are the same (but for a
 * time-out, which may have been cut already), so it is at least a like call. */
static bool is_of(const struct restart *note, ucontext_t *u)
{
	int way = calls_again(note->nr, (long)note->args[1]), time = way >= 0 ? way & ~CALLS_MILLISECONDS : -1;
	for (int i = 0; i < 6; i++)
		if (i != time && note->args[i] != (uint64_t)*arch_argument(u, i))
			return false;
	return note->pc == (uintptr_t)ARCH_PC(u) && note->sp == (uintptr_t)ARCH_SP(u);
}

/* Has the thread hardly run since it was looked at? The look may be long ago: a busy machine lets the signal come late.
 * Then the thread has used no more of a processor than it takes to wake up. */
static bool has_hardly_run(const struct restart *note)
{
	enum { FRESH_NS = 50000000, WAKING_NS = 200000 };
	return clock_ns(CLOCK_MONOTONIC) - note->looked_ns < FRESH_NS ||
	       os_clock_ns(CLOCK_THREAD_CPUTIME_ID) - note->cpu_ns < WAKING_NS;
}

/* Is it that very call? Yes if the thread was not woken since. Out of line: inlined, it would enlarge the caller's
 * frame for as long as that runs. */
static __attribute__((noinline)) bool is_still(const struct restart *note)
{
	struct rusage usage = {0};
	return has_hardly_run(note) && os_call(SYS_getrusage, RUSAGE_THREAD, &usage) == 0 &&
	       (uint64_t)usage.ru_nvcsw == note->sleeps;
}

/* A call that was interrupted. */
struct call {
	long nr;           /* -1: not known */
	uint64_t since_ns; /* 0: not known */
	bool handled;      /* a handler of the program's has run in it */
};

/* If the call itself does not tell whether a handler has run, we go by where the last handler ran. That may be long
 * ago, but a program whose handlers come there can deal with EINTR. */
static struct call call_of(ucontext_t *u, const struct arch_code *code)
{
	struct restart *r = restart_of_self(), note;
	uintptr_t pc = (uintptr_t)ARCH_PC(u), sp = (uintptr_t)ARCH_SP(u);
	bool is_noted = read_note(r, &note) && is_of(&note, u);
	if (is_noted && is_still(&note))
		return (struct call){note.nr, note.since_ns, note.handled_then != shared_own(&r->handled)};
	bool handled = do_calls_tell() ? arch_call_was_handled(u) : r && r->handled_pc == pc && r->handled_sp == sp;
	return (struct call){is_noted ? note.nr : number_in_code(code), 0, handled};
}

static uint64_t ns_of(const struct timespec *t)
{
	uint64_t ns;
	if (__builtin_mul_overflow((uint64_t)t->tv_sec, 1000000000u, &ns) ||
	    __builtin_add_overflow(ns, (uint64_t)t->tv_nsec, &ns))
		return UINT64_MAX;
	return ns;
}

static uint64_t left_of(uint64_t whole_ns, uint64_t since_ns)
{
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC), gone_ns = since_ns && now_ns > since_ns ? now_ns - since_ns : 0;
	return gone_ns < whole_ns ? whole_ns - gone_ns : 0;
}

/* Returns where a sleep stores what is left; 0: nowhere. */
static uintptr_t left_at(ucontext_t *u, long nr)
{
	int left = calls_left(nr);
	return left >= 0 ? (uintptr_t)*arch_argument(u, left) : 0;
}

static bool read_time(uintptr_t at, struct timespec *t)
{
	return peek_in_use(at, &t->tv_sec, sizeof t->tv_sec) &&
	       peek_in_use(at + offsetof(struct timespec, tv_nsec), &t->tv_nsec, sizeof t->tv_nsec);
}

/* Sets the time-out to what is left of it. */
static void cut_time(ucontext_t *u, const struct call *c, int way)
{
	arch_register *arg = way >= 0 ? arch_argument(u, way & ~CALLS_MILLISECONDS) : NULL;
	struct restart *r = restart_of_self();
	if (!arg || !*arg || (way & CALLS_MILLISECONDS && (int)*arg < 0))
		return;
	if (way & CALLS_MILLISECONDS) {
		*arg = (arch_register)((left_of((uint64_t)*arg * 1000000, c->since_ns) + 999999) / 1000000);
	} else if (left_at(u, c->nr)) {
		*arg = (arch_register)left_at(u, c->nr);
	} else if (r && c->since_ns && read_time((uintptr_t)*arg, &r->time)) {
		uint64_t ns = left_of(ns_of(&r->time), c->since_ns);
		r->time = (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
		*arg = (arch_register)&r->time;
	}
}

static void note_again(uintptr_t pc, uintptr_t sp, bool always)
{
	struct restart *r = restart_of_self();
	if (!r)
		return;
	r->again_sp = sp;
	r->again_always = always;
	r->again_pc = pc;
}

/* The thread is right before a call: the kernel makes it again because our handler has SA_RESTART, or it is made for
 * the first time. */
static void before_call(ucontext_t *u, uint64_t due)
{
	if (calls_again((long)ARCH_NUMBER(u), (long)*arch_argument(u, 1)) == CALLS_NEVER)
		return;
	if (waits_others_are_due(due, SA_RESTART, false))
		arch_fail_call(u, EINTR);
	else
		note_again((uintptr_t)ARCH_PC(u), (uintptr_t)ARCH_SP(u), false);
}

static void set_back(ucontext_t *u, const struct call *c)
{
	int way = c->nr < 0 ? CALLS_NEVER : calls_again(c->nr, (long)*arch_argument(u, 1));
	if (way == CALLS_NEVER)
		return;
	cut_time(u, c, way);
	arch_make_again(u, c->nr);
	note_again((uintptr_t)ARCH_PC(u), (uintptr_t)ARCH_SP(u), true);
}

ARCH_MOVE_REST(restart_move_rest, restart_rest_of)

static void move_rest_of(ucontext_t *u, long nr)
{
	if (!calls_moves(nr) || (nr == SYS_write && ARCH_RESULT(u) >= *arch_argument(u, 2)))
		return;
	arch_go_on_in(u, restart_move_rest, nr);
}

void restart_interrupted(ucontext_t *u, uint64_t mask)
{
	struct arch_code code;
	intptr_t result = (intptr_t)ARCH_RESULT(u);
	if (is_before_call(u)) {
		before_call(u, waits_programs(~mask));
		return;
	}
	if ((result != -EINTR && result <= 0) || !is_after_call(u, &code))
		return;
	struct call c = call_of(u, &code);
	if (c.nr < 0 || c.handled || waits_others_are_due(waits_programs(~mask), 0, false))
		return;
	if (result > 0)
		move_rest_of(u, c.nr);
	else
		set_back(u, &c);
}

/* By call: the number of the system call that it makes, plus one, if that may move a part; else 0. */
static const uint16_t transfers[WAIT_CALLS] = {
#define MOVES_BY(symbol, nr) [WAIT_##symbol] = SYS_##nr + 1,
#include "shim/hooks.def"
};

/* Sets the thread back to the call of a published wait. The time-out counts from when the wait began, or from when it
 * was cut last. Returns false if the number of the call is not known. */
static bool set_back_in(ucontext_t *u, const struct arch_code *code, const struct wait *w)
{
	struct restart *r = restart_of_self(), note;
	uint64_t state = shared_own(&w->state);
	struct call c = {number_in_code(code), r->cut_state == state ? r->cut_ns : w->since_ns, false};
	if (read_note(r, &note) && is_of(&note, u))
		c.nr = note.nr;
	if (c.nr < 0)
		return false;
	set_back(u, &c);
	r->cut_state = state;
	r->cut_ns = clock_ns(CLOCK_MONOTONIC);
	return true;
}

/* A call that is set back is made again, or fails if a handler of the program's comes first: nothing of the thread runs
 * in between. So the hook's own way, by a mark, is only for calls whose number is not known. */
void restart_interrupted_in(ucontext_t *u, uint64_t mask, const struct wait *w)
{
	struct arch_code code;
	intptr_t result = (intptr_t)ARCH_RESULT(u);
	if (is_before_call(u)) {
		before_call(u, waits_programs(~mask));
		return;
	}
	if ((result != -EINTR && result < 0) || !is_after_call(u, &code) || w->handled != self.handled ||
	    waits_others_are_due(waits_programs(~mask), 0, false))
		return;
	unsigned call = waits_call(shared_own(&w->state));
	long nr = result > 0 && call < WAIT_CALLS ? transfers[call] - 1 : -1;
	if (nr >= 0)
		move_rest_of(u, nr);
	else if (result != -EINTR || !set_back_in(u, &code, w))
		waits_mark((uintptr_t)ARCH_PC(u), (uintptr_t)ARCH_SP(u), result, mask);
}

void restart_give_up(int sig, ucontext_t *u)
{
	struct restart *r = restart_of_self();
	struct arch_code code;
	if (is_after_call(u, &code))
		arch_tell_of_handler(u);
	if (!r || r->again_pc != (uintptr_t)ARCH_PC(u) || r->again_sp != (uintptr_t)ARCH_SP(u) || !is_before_call(u))
		return;
	r->again_pc = 0;
	if (r->again_always || !waits_signal_restarts(sig))
		arch_fail_call(u, EINTR);
}

/* What is left of a transfer. Used in the program's thread, with its registers. */
struct rest {
	int fd, flags;
	bool receives, is_socket;
	const struct iovec *iov;
	size_t count;
	const struct msghdr *msg;
	long addr, addr_bytes; /* of sendto */
	uint32_t handled;
};

static bool was_handled(const struct rest *t)
{
	return self.handled != t->handled;
}

/* Only streams are continued: messages have no rest, and files are not interrupted. A transfer that may not wait is
 * right as it is. */
static bool has_rest(struct rest *t)
{
	struct stat st;
	int type = 0;
	socklen_t bytes = sizeof type;
	if (t->receives ? (t->flags & (MSG_WAITALL | MSG_PEEK | MSG_DONTWAIT)) != MSG_WAITALL : t->flags & MSG_DONTWAIT)
		return false;
	if (os_call(SYS_fcntl, t->fd, F_GETFL) & O_NONBLOCK)
		return false;
	t->is_socket = os_call(SYS_getsockopt, t->fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0;
	if (t->is_socket)
		return type == SOCK_STREAM && !(t->receives && t->msg && t->msg->msg_control);
	return os_call(SYS_fstat, t->fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode));
}

static uint64_t bytes_in(const struct iovec *iov, size_t count)
{
	uint64_t n = 0;
	for (size_t i = 0; i < count; i++)
		n += iov[i].iov_len;
	return n;
}

/* Waits a little until the socket can move more. Not every end wakes poll (a Unix socket's peer that shut down), so it
 * returns true now and then to make the caller try.
 * Returns false if the socket has an error (which is left there), a signal of the program came, or its time-out is
 * over. */
static bool is_ready(const struct rest *t, int64_t *waited_ms)
{
	enum { STEP_MS = 50 };
	struct timeval limit = {0};
	socklen_t bytes = sizeof limit;
	struct pollfd p = {.fd = t->fd, .events = t->receives ? POLLIN : POLLOUT};
	struct timespec step = {.tv_nsec = STEP_MS * 1000000};
	long r = os_call(SYS_ppoll, &p, 1, &step, NULL, 0);
	if ((r < 0 && r != -EINTR) || was_handled(t) || p.revents & (POLLERR | POLLNVAL) ||
	    (!t->receives && p.revents & POLLHUP))
		return false;
	*waited_ms = r > 0 ? 0 : *waited_ms + STEP_MS;
	os_call(SYS_getsockopt, t->fd, SOL_SOCKET, t->receives ? SO_RCVTIMEO : SO_SNDTIMEO, &limit, &bytes);
	int64_t limit_ms = (int64_t)limit.tv_sec * 1000 + limit.tv_usec / 1000;
	return limit_ms == 0 || *waited_ms <= limit_ms;
}

/* Moves what follows after `done` bytes: the rest of a piece that was begun, or the pieces after it. A socket reports
 * an error only once, so sockets are asked only for what they can do at once.
 * Returns bytes, or a negative errno. */
static long move_some(const struct rest *t, uint64_t done)
{
	const struct iovec *iov = t->iov;
	size_t count = t->count;
	for (; count && done >= iov->iov_len; count--)
		done -= iov++->iov_len;
	struct iovec piece = {(char *)iov->iov_base + done, iov->iov_len - done};
	if (done) {
		iov = &piece;
		count = 1;
	}
	if (!t->is_socket)
		return os_call(SYS_writev, t->fd, iov, count);
	struct msghdr msg;
	msg.msg_name = t->receives ? NULL : t->msg ? t->msg->msg_name : (void *)t->addr;
	msg.msg_namelen = t->receives ? 0 : t->msg ? t->msg->msg_namelen : (socklen_t)t->addr_bytes;
	msg.msg_iov = (struct iovec *)iov;
	msg.msg_iovlen = count;
	msg.msg_control = NULL;
	msg.msg_controllen = 0;
	msg.msg_flags = 0;
	return t->receives ? os_call(SYS_recvmsg, t->fd, &msg, t->flags | MSG_DONTWAIT)
	                   : os_call(SYS_sendmsg, t->fd, &msg, t->flags | MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* If something ends the rest early, that is not reported: like the kernel we return what was moved, and the error comes
 * with the next call. */
static uint64_t move_on(struct rest *t, uint64_t done)
{
	int64_t waited_ms = 0;
	uint64_t whole = bytes_in(t->iov, t->count);
	if (done >= whole || !has_rest(t))
		return done;
	while (done < whole && !was_handled(t)) {
		if (t->is_socket && !is_ready(t, &waited_ms))
			break;
		long more = move_some(t, done);
		if (more == 0 || (more < 0 && !(more == -EAGAIN && t->is_socket) && more != -EINTR))
			break;
		done += more > 0 ? (uint64_t)more : 0;
	}
	return done;
}

/* Called by the assembly entry. Returns the bytes that were moved in all. */
static __attribute__((used)) uint64_t restart_rest_of(const struct arch_moved *m)
{
	long second = arch_moved_argument(m, 1), third = arch_moved_argument(m, 2);
	struct iovec buffer = {(void *)second, (size_t)third};
	struct rest t;
	t.fd = (int)arch_moved_argument(m, 0);
	t.flags = 0;
	t.receives = m->nr == SYS_recvfrom || m->nr == SYS_recvmsg;
	t.is_socket = false;
	t.iov = &buffer;
	t.count = 1;
	t.msg = NULL;
	t.addr = t.addr_bytes = 0;
	t.handled = self.handled;
	if (m->nr == SYS_writev) {
		t.iov = (const struct iovec *)second;
		t.count = (size_t)third;
	} else if (m->nr == SYS_sendmsg || m->nr == SYS_recvmsg) {
		t.msg = (const struct msghdr *)second;
		t.iov = t.msg->msg_iov;
		t.count = t.msg->msg_iovlen;
		t.flags = (int)third;
	} else if (m->nr != SYS_write) {
		t.flags = (int)arch_moved_argument(m, 3);
		t.addr = arch_moved_argument(m, 4);
		t.addr_bytes = arch_moved_argument(m, 5);
	}
	return move_on(&t, m->done);
}
#else
void restart_interrupted(ucontext_t *u, uint64_t mask)
{
	(void)u, (void)mask;
}

void restart_interrupted_in(ucontext_t *u, uint64_t mask, const struct wait *w)
{
	(void)w;
	if (waits_mark((uintptr_t)ARCH_PC(u), (uintptr_t)ARCH_SP(u), (intptr_t)ARCH_RESULT(u), mask))
		arch_fail_call(u, EINTR);
}

void restart_give_up(int sig, ucontext_t *u)
{
	(void)sig, (void)u;
}
#endif

/* Would this call take our signal as one that the program waits for? */
static bool takes_ours(const struct task *k)
{
	uint64_t set;
	return k->nr == SYS_rt_sigtimedwait && peek(k->args[0], &set, sizeof set) && set >> (SIGNALS_OURS - 1) & 1;
}

static void write_note(struct restart *r, long nr, const struct task *k, uint64_t since_ns, uint64_t cpu_ns,
                       uint64_t sleeps, uint32_t handled)
{
	shared_store_relaxed(&r->number, shared_own(&r->number) + 1);
	shared_fence_release();
	r->nr = nr;
	memcpy(r->args, k->args, sizeof r->args);
	r->pc = k->pc;
	r->sp = k->sp;
	r->looked_ns = clock_ns(CLOCK_MONOTONIC);
	r->since_ns = since_ns;
	r->cpu_ns = cpu_ns;
	r->sleeps = sleeps;
	r->handled_then = handled;
	shared_store_release(&r->number, shared_own(&r->number) + 1);
}

bool restart_look(struct thread *t)
{
	struct restart *r = &t->restart;
	uint32_t handled = shared_load_relaxed(&r->handled);
	int tid = shared_load_relaxed(&t->tid);
	uint64_t sleeps = tasks_sleeps(tid);
	struct task k = tasks_look(tid);
	bool blocked = k.state == TASK_BLOCKED && k.nr >= 0 && calls_again(k.nr, (long)k.args[1]) != CALLS_NEVER;
	r->keep_off = blocked && takes_ours(&k);
	if (blocked) {
		uint64_t cpu_ns;
		int64_t idle_ns = tasks_idle_ns(tid, &cpu_ns);
		uint64_t since_ns = idle_ns < 0 ? 0 : clock_ns(CLOCK_MONOTONIC) - (uint64_t)idle_ns;
		write_note(r, handled == shared_load_relaxed(&r->handled) ? k.nr : -1, &k, since_ns, cpu_ns, sleeps,
		           handled);
	}
	return !r->keep_off;
}
