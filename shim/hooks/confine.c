/* confine.c - notice prctl(PR_SET_SECCOMP), seccomp(2) and a few more of prctl before they take effect.
 *
 * Runs in: app's thread, in a signal handler too; a child of vfork, which shares our memory: its filters do not affect
 * the program; a copy that libc was not told of, as sandboxes make them (clone).
 * So: no lock but the listener's own, errno as the real function left it.
 *
 * We treat one thread's filter as one of the whole process: to check which thread a hook runs on would cost more than
 * idle hooks may.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/confined.h"

#include <assert.h>
#include <errno.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "shim/arch/entries.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/base/shared.h"
#include "shim/listener/listener.h"
#include "shim/libc/clock.h"
#include "shim/libc/real.h"
#include "shim/profiles/quota.h"
#include "shim/waits/signals.h"

enum { PTRACER = 0x59616d61 }; /* PR_SET_PTRACER */

/* Logged by the listener, which is no thread of the program: after the filter no thread may write. */
static const char last_line[] =
	"the program shuts itself in (seccomp): nothing is served from now on, and samples that need a "
	"system call are lost; profiles can be had before, or with its sandbox off";

/* What an attempt to set a filter has done, and has to undo if the kernel refuses. */
struct attempt {
	bool is_ours, has_turn, is_first, had_listener;
};

/* Attempts of several threads come one after the other: what one of them does before would be killed by the filter that
 * another sets meanwhile, and the end of one that the kernel refuses would undo what the other has done. */
static struct {
	SHARED(struct self *) by; /* the thread whose turn it is; NULL: none */
	shared_bool hold;         /* a filter is in place: nothing is undone any more */
} filters FORKED;

/* A program may ask whether the kernel has filters at all, by passing a NULL filter. Then nothing changes. */
static bool is_question(unsigned long filter)
{
	return filter == 0;
}

/* Once the thread before may be making its call, the next one makes none of ours, not even to wait. */
static void wait_a_little(void)
{
	static const struct timespec step = {.tv_nsec = 100000};
	self_calls_begin();
	if (!confined())
		os_call(SYS_nanosleep, &step, NULL);
	self_calls_end();
	if (confined())
		arch_pause();
}

/* Returns false where nobody has to wait: a filter holds, or this is a handler that interrupted the thread whose turn
 * it is. Or that thread has left its turn by a jump, and this one has spun for about a second (without a filter in
 * sight it sleeps between, and waits far longer: to go on too early would have somebody killed). */
static bool take_turn(void)
{
	enum { SPINS = 1 << 25 };
	for (int i = 0; i < SPINS && !shared_load_seq_cst(&filters.hold); i++) {
		struct self *other = NULL;
		if (shared_cas_seq_cst(&filters.by, &other, &self))
			return true;
		if (other == &self)
			break;
		wait_a_little();
	}
	return false;
}

static void prepare(struct attempt *a)
{
	quota_pause(); /* for good, if the filter holds: no timer of ours is left, and none is made */
	signals_give_up_interval();
	a->had_listener = listener_stop_before_filter(last_line);
	signals_end_all();
	a->is_first = true;
	shared_store_seq_cst(&os_confined, true);
	/* other threads, which the filter may be for, too */
	signals_await_handlers();
	self_await_callers();
	listener_end_late();
}

/* Signals are blocked, but for the one by which libc changes identities: a handler of the program that set a filter
 * here would have the rest killed. */
static struct attempt begin(void)
{
	static const uint64_t most = ~OS_SIGNAL_BIT(SIGNALS_OURS);
	struct attempt a = {.is_ours = true, .has_turn = take_turn()};
	uint64_t mask;
	if (confined())
		return a;
	a.is_ours = listener_is_our_process();
	if (!a.is_ours)
		return a;
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &most, &mask, sizeof most);
	prepare(&a);
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
	return a;
}

/* A handler may have set a filter since. */
static void undo(const struct attempt *a)
{
	shared_store_seq_cst(&os_confined, false);
	if (shared_load_seq_cst(&filters.hold)) {
		shared_store_seq_cst(&os_confined, true);
		return;
	}
	quota_resume();
	if (a->had_listener)
		listener_resume();
}

/* `holds`: the filter is in place. That is not r == 0: seccomp(2) may return a descriptor, or the id of a thread that
 * could not take the filter. */
static long end(struct attempt a, long r, bool holds)
{
	int saved = errno;
	if (a.is_ours && holds)
		shared_store_seq_cst(&filters.hold, true);
	else if (a.is_first && !shared_load_seq_cst(&filters.hold))
		undo(&a);
	if (a.has_turn)
		shared_store_seq_cst(&filters.by, NULL);
	errno = saved;
	return r;
}

/* The other threads' attempts are not in the child. */
FORKED_CODE void confine_fork_child(void)
{
	if (shared_own(&filters.by) != &self)
		shared_set_own(&filters.by, NULL);
}

typedef int (*prctl_function)(int, unsigned long, unsigned long, unsigned long, unsigned long);

/* Found at the first call like the table's real functions (real.c), which has no variadic ones. */
static int find_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
static __attribute__((used)) prctl_function real_prctl = find_prctl;

static int find_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
	word_store_release((void **)&real_prctl, real_find("prctl").address);
	return real_prctl(option, a, b, c, d);
}

static int prctl_seccomp(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
	if (a == SECCOMP_MODE_FILTER && is_question(b))
		return real_prctl(option, a, b, c, d);
	struct attempt attempt = begin();
	int r = real_prctl(option, a, b, c, d);
	return (int)end(attempt, r, r == 0);
}

/* Do what must come before the calls of prctl that we look at. PR_SET_DUMPABLE: the listener, which shares the
 * program's memory, must not change its identity after that, as the kernel would undo the program's setting. */
static void before_prctl(int option, unsigned long value)
{
	if (option == PTRACER)
		listener_leaves_ptracer_to_program();
	else if (option == PR_SET_DUMPABLE)
		listener_await_identity();
	else if (option == PR_SET_TSC && value == PR_TSC_SIGSEGV)
		clock_do_without_counter();
}

static __attribute__((used)) SLOW int prctl_watched(int option, unsigned long a, unsigned long b, unsigned long c,
                                                    unsigned long d)
{
	if (option == PR_SET_SECCOMP)
		return prctl_seccomp(option, a, b, c, d);
	before_prctl(option, a);
	return real_prctl(option, a, b, c, d);
}

/* All its arguments are in registers, however many a caller gives. Calls that do not concern us are jumped on with all
 * of them unchanged. */
#if ARCH_HAS_ENTRIES
static __attribute__((used)) const uint32_t looked_at = 1u << PR_SET_DUMPABLE | 1u << PR_SET_SECCOMP | 1u << PR_SET_TSC;
static_assert(PTRACER == 0x59616d61, "as the entry has it");
ARCH_ENTRY_BY_FIRST(prctl, real_prctl, looked_at, 0x59616d61, prctl_watched)
#else
EXPORT int prctl_of_five(int option, unsigned long a, unsigned long b, unsigned long c,
                         unsigned long d) __asm__("prctl");
int prctl_of_five(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
	return prctl_watched(option, a, b, c, d);
}
#endif

/* Is it one of the two operations that confine the caller? */
static bool shuts_in(long operation, long filter)
{
	return operation == SECCOMP_SET_MODE_STRICT ||
	       (operation == SECCOMP_SET_MODE_FILTER && !is_question((unsigned long)filter));
}

/* With SECCOMP_FILTER_FLAG_TSYNC, a thread id as the result means that nothing was done. */
static bool holds(const long a[5], long r)
{
	enum { TSYNC = 1, NEW_LISTENER = 8 };
	return r == 0 || (r > 0 && (!(a[1] & TSYNC) || (a[1] & NEW_LISTENER)));
}

long confined_by_number(long nr, const long a[5])
{
	if (!shuts_in(a[0], a[2]))
		return real_syscall(nr, a[0], a[1], a[2], a[3], a[4], 0);
	struct attempt attempt = begin();
	long r = real_syscall(nr, a[0], a[1], a[2], a[3], a[4], 0);
	return end(attempt, r, holds(a, r));
}

bool confined_prctl_by_number(const long a[5], long *result)
{
	before_prctl((int)a[0], (unsigned long)a[1]);
	if ((int)a[0] != PR_SET_SECCOMP || (a[1] == SECCOMP_MODE_FILTER && is_question((unsigned long)a[2])))
		return false;
	struct attempt attempt = begin();
	long r = real_syscall(SYS_prctl, a[0], a[1], a[2], a[3], a[4], 0);
	*result = end(attempt, r, r == 0);
	return true;
}
