/* test_restart_look.c - where restart.c looks: threads that wait for our signal, code and times that it may not read.
 *
 * Runs in: a process of its own, as standing_made.h says.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/waits/restart.c shim/waits/restart_look.c shim/waits/restart_transfers.c shim/waits/calls.c
 * links: shim/waits/waits.c shim/profiles/deadlock.c shim/threads/tasks.c
 * links: shim/base/powers.c
 * links: shim/base/house.c shim/libc/clock.c shim/libc/real.c shim/base/text.c shim/base/arena.c shim/base/sync.c
 * links: test/unit/support/cut/queues.c */
#include "test/unit/shim/waits/standing_made.h"

/* --- what the listener sees --------------------------------------------------------------------------------- */

static long c_everything(struct stander *s)
{
	uint64_t all = ~(uint64_t)0 & ~((uint64_t)1 << (OURS - 1));
	struct timespec t = {.tv_sec = 1};
	(void)s;
	return syscall(SYS_rt_sigtimedwait, &all, NULL, &t, sizeof all);
}

static void test_a_thread_that_waits_for_our_signal_gets_none(void **state)
{
	const struct stander kind = {.name = "everything", .call = c_everything, .ms = -1};
	struct stander s;
	(void)state;
	start(&s, &kind);
	assert_false(restart_look(&s.record));
	assert_true(s.record.restart.keep_off);
	finish(&s);
}

/* --- where it is looked --------------------------------------------------------------------------------------- */

/* Code in a page of its own, as runtimes make it: nothing can be read before it. */
static void test_the_first_instruction_of_a_page_has_nothing_before_it(void **state)
{
	(void)state;
#if defined(__x86_64__)
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ucontext_t u;
	assert_ptr_not_equal(pages, MAP_FAILED);
	assert_int_equal(mprotect(pages, 4096, PROT_NONE), 0);
	for (uintptr_t offset = 0; offset < 2; offset++) {
		memset(&u, 0, sizeof u);
		u.uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)(pages + 4096 + offset);
		u.uc_mcontext.gregs[REG_RAX] = -EINTR;
		restart_interrupted(&u, ~(uint64_t)0);
		assert_int_equal(u.uc_mcontext.gregs[REG_RIP], (greg_t)(uintptr_t)(pages + 4096 + offset));
	}
	munmap(pages, 8192);
#else
	skip();
#endif
}

#if defined(__x86_64__)
/* A page that can't be read, behind one with "mov $SYS_semtimedop, %eax; syscall" at its beginning. */
static char *pages_with_call(void)
{
	static const unsigned char call[] = {0x90, 0x90, 0xb8, SYS_semtimedop & 0xff, SYS_semtimedop >> 8, 0,
	                                     0,    0x0f, 0x05};
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(pages, MAP_FAILED);
	memcpy(pages, call, sizeof call);
	assert_int_equal(mprotect(pages + 4096, 4096, PROT_NONE), 0);
	return pages;
}
enum { BEHIND_CALL = 9, STACK = 1 << 16 };

/* A thread that our signal interrupted behind that call, in a wait that its hook has published. */
static void interrupted_in(ucontext_t *u, struct thread *t, const char *pages, const char *time)
{
	memset(u, 0, sizeof *u);
	memset(t, 0, sizeof *t);
	t->restart.nr = -1;
	self.thread = t;
	struct unwind_frame frame = {.sp = STACK};
	struct wait_scope scope;
	waits_enter(&scope, WAIT_semtimedop, 0, frame, clock_ns(CLOCK_MONOTONIC) - 1000000000);
	u->uc_mcontext.gregs[REG_RSP] = STACK - 100;
	u->uc_mcontext.gregs[REG_RIP] = u->uc_mcontext.gregs[REG_RCX] = (greg_t)(uintptr_t)(pages + BEHIND_CALL);
	u->uc_mcontext.gregs[REG_RAX] = -EINTR;
	u->uc_mcontext.gregs[REG_R10] = (greg_t)(uintptr_t)time;
}
#endif

/* If the hook made it again, a handler of the program's could come between its last look and the call, and be missed.
 */
static void test_a_wait_of_a_hook_is_made_again_with_nothing_in_between(void **state)
{
	(void)state;
#if defined(__x86_64__)
	char *pages = pages_with_call();
	struct timespec minute = {.tv_sec = 60};
	struct thread t;
	ucontext_t u;
	interrupted_in(&u, &t, pages, (const char *)&minute);
	restart_interrupted_in(&u, 0, &t.wait);
	assert_int_equal(u.uc_mcontext.gregs[REG_RIP], (greg_t)(uintptr_t)(pages + BEHIND_CALL - 2));
	assert_int_equal(u.uc_mcontext.gregs[REG_RAX], SYS_semtimedop);
	assert_false(waits_may_be_cut_short());
	const struct timespec *left = (const void *)u.uc_mcontext.gregs[REG_R10];
	assert_in_range(left->tv_sec, 30, 59); /* a second has passed, more on a busy machine */
	restart_give_up(PROGRAMS, &u);         /* its handler comes here, and has no SA_RESTART */
	assert_int_equal(u.uc_mcontext.gregs[REG_RIP], (greg_t)(uintptr_t)(pages + BEHIND_CALL));
	assert_int_equal(u.uc_mcontext.gregs[REG_RAX], -EINTR);
	munmap(pages, 8192);
#else
	skip();
#endif
}

static void test_a_time_out_that_was_cut_counts_from_then_on(void **state)
{
	(void)state;
#if defined(__x86_64__)
	char *pages = pages_with_call();
	struct timespec minute = {.tv_sec = 60};
	struct thread t;
	ucontext_t u;
	interrupted_in(&u, &t, pages, (const char *)&minute);
	t.wait.since_ns -= 20000000000; /* 21 s ago */
	for (int i = 0; i < 3; i++) {
		u.uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)(pages + BEHIND_CALL);
		u.uc_mcontext.gregs[REG_RAX] = -EINTR;
		restart_interrupted_in(&u, 0, &t.wait);
	}
	const struct timespec *left = (const void *)u.uc_mcontext.gregs[REG_R10];
	assert_in_range(left->tv_sec, 25, 39); /* not 0 */
	munmap(pages, 8192);
#else
	skip();
#endif
}

static void test_code_and_times_that_we_may_not_read_are_left_alone(void **state)
{
	(void)state;
#if defined(__x86_64__)
	char *pages = pages_with_call();
	struct thread t;
	ucontext_t u;
	for (uintptr_t offset = 0; offset < 64; offset++) {
		const char *code = pages + 4096 + offset;
		interrupted_in(&u, &t, code - BEHIND_CALL, NULL);
		restart_interrupted_in(&u, 0, &t.wait);
		restart_interrupted(&u, 0);
		u.uc_mcontext.gregs[REG_RCX] += 2;
		restart_interrupted_in(&u, 0, &t.wait);
		restart_interrupted(&u, 0);
		restart_give_up(PROGRAMS, &u);
		assert_int_equal(u.uc_mcontext.gregs[REG_RIP], (greg_t)(uintptr_t)code);
	}
	for (int bytes = 0; bytes < 9; bytes += 8) { /* none, or the first half of a time */
		interrupted_in(&u, &t, pages, pages + 4096 - bytes);
		restart_interrupted_in(&u, 0, &t.wait);
		assert_int_equal(u.uc_mcontext.gregs[REG_RIP], (greg_t)(uintptr_t)(pages + BEHIND_CALL - 2));
		assert_int_equal(u.uc_mcontext.gregs[REG_R10], (greg_t)(uintptr_t)(pages + 4096 - bytes));
	}
	munmap(pages, 8192);
#else
	skip();
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_thread_that_waits_for_our_signal_gets_none),
		TEST(test_the_first_instruction_of_a_page_has_nothing_before_it),
		TEST(test_a_wait_of_a_hook_is_made_again_with_nothing_in_between),
		TEST(test_a_time_out_that_was_cut_counts_from_then_on),
		TEST(test_code_and_times_that_we_may_not_read_are_left_alone),
	};
	return RUN(tests);
}
