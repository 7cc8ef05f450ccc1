/* test_sample.c - stacks that a signal handler takes and the listener finishes, against those that are walked at once.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/stack/sample.c shim/stack/unwind.c shim/stack/step.c shim/stack/bounds.c shim/stack/rules.c
 * links: shim/stack/code.c
 * links: shim/stack/look.c
 * links: shim/stack/learn.c shim/stack/tables.c
 * links: shim/stack/eh_frame.c shim/stack/own_stack.c shim/stack/unwind_libc.c
 * links: shim/libc/clock.c shim/libc/modules.c shim/libc/loaded.c shim/libc/headers.c shim/libc/real.c
 * links: shim/base/losses.c shim/base/settings.c
 * links: shim/base/text.c shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <alloca.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/libc/modules.h"
#include "shim/base/os.h"
#include "shim/stack/sample.h"
#include "shim/base/settings.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"
#include "test/unit/support/shapes.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED \
	1 /* a copy of the stack is then an error; frames and handlers are not the compiler's and the kernel's own */
#else
#define SANITIZED 0
#endif

enum { MAX = 512, PAGE = 4096, COPIES = 32 };

/* --- frames of every shape --------------------------------------------------- */

static NOINLINE int deep(int depth, int (*next)(void))
{
	volatile char a[100];
	a[keep & 1] = 1;
	return (depth ? deep(depth - 1, next) : next()) + a[0] + keep;
}

static NOINLINE int thirty(int (*next)(void))
{
	return deep(30, next) + keep;
}

static const struct shape shapes[] = {
	{"plain", plain},       {"array", with_array},         {"alloca", with_alloca},
	{"aligned", aligned},   {"registers", many_registers},
#define STEPPED_SHAPES 5
	{"libc", through_libc}, {"30 deep", thirty},
};

/* --- in a handler ------------------------------------------------------------------------------------ */

/* In how many frames, from the leaf, the rules are known when the handler comes. */
static size_t known;

static union {
	struct sample s;
	char room[sizeof(struct sample) + (MAX + 1) * sizeof(uintptr_t)]; /* and a mark */
} taken;

static struct {
	uintptr_t pc[MAX];
	size_t depth;
	int steps, wrong, unfinished;
	uintptr_t first_wrong;
} truth;

static void look(const ucontext_t *u)
{
	const struct unwind_frame f = {
		.pc = (uintptr_t)u->uc_mcontext.gregs[REG_RIP],
		.sp = (uintptr_t)u->uc_mcontext.gregs[REG_RSP],
		.fp = (uintptr_t)u->uc_mcontext.gregs[REG_RBP],
	};
	struct stack_bounds stack = {0};
	unwind_forget();
	if (known)
		unwind_walk(f, &stack, truth.pc, known, &(enum stack_cut){0});
	sample_take(&taken.s, f);
	truth.unfinished += taken.s.copy >= 0;
	stack = (struct stack_bounds){0};
	truth.depth = unwind_walk(f, &stack, truth.pc, sample_depth(), &(enum stack_cut){0});
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	look(context);
}

static bool is_right(void)
{
	return taken.s.depth == truth.depth && truth.depth > 3 &&
	       memcmp(taken.s.pc, truth.pc, truth.depth * sizeof *truth.pc) == 0;
}

static void print_both(void)
{
	for (size_t i = 0; i < taken.s.depth || i < truth.depth; i++)
		print_message("#%zu sample %#lx   walk %#lx\n", i, i < taken.s.depth ? (long)taken.s.pc[i] : 0,
		              i < truth.depth ? (long)truth.pc[i] : 0);
}

static NOINLINE int interrupt(void)
{
	raise(SIGUSR1);
	return ++keep;
}

static void handle(int sig, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
	assert_int_equal(sigaction(sig, &action, NULL), 0);
}

static int start(void **state)
{
	(void)state;
	/* The learner under a sanitizer may not run in a handler, nor a handler copy a stack: all is skipped then. */
	modules_refresh();
	handle(SIGUSR1, on_signal, 0);
	return 0;
}

static int reset(void **state)
{
	(void)state;
	memset(&truth, 0, sizeof truth);
	memset(&taken, 0, sizeof taken);
	settings.stack_depth = 128;
	known = 0;
	return 0;
}

/* First: nobody has called sample_start. */
static void test_before_there_is_memory_a_stack_is_short_and_says_so(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	plain(interrupt);
	assert_int_equal(taken.s.depth, 1);
	assert_true(taken.s.is_short);
	assert_true(taken.s.copy < 0);
	sample_finish(&taken.s);
	assert_int_equal(taken.s.depth, 2);
	assert_int_equal(cut_of(taken.s.pc[1]), CUT_BUSY);
	sample_drop(&taken.s);
	sample_fork_child();
	assert_true(sample_start());
	assert_true(sample_start());
}

static void test_a_finished_sample_is_the_stack_whatever_was_known(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	for (size_t i = 0; i < COUNT(shapes); i++)
		for (known = 0; known < 12; known++) {
			shapes[i].run(interrupt);
			assert_true(truth.unfinished > 0);
			assert_false(taken.s.is_short);
			assert_int_equal(taken.s.tid, os_tid());
			if (shapes[i].run != thirty) /* where one rule serves many frames */
				assert_in_range(taken.s.depth, 1, known + 2);
			sample_finish(&taken.s);
			assert_true(taken.s.copy < 0);
			if (!is_right()) {
				print_both();
				fail_msg("%s, %zu frames known", shapes[i].name, known);
			}
		}
}

static void test_where_all_is_known_nothing_is_left_to_do(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	known = MAX;
	for (size_t i = 0; i < COUNT(shapes); i++) {
		truth.unfinished = 0;
		shapes[i].run(interrupt);
		assert_int_equal(truth.unfinished, 0);
		assert_true(taken.s.rest.pc == 0 && taken.s.copy < 0 && !taken.s.is_short);
		assert_true(is_right());
		sample_finish(&taken.s);
		assert_true(is_right());
	}
}

static void test_the_name_of_the_thread_is_in_the_sample(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	char before[16];
	prctl(PR_GET_NAME, before);
	prctl(PR_SET_NAME, "fifteen letters");
	plain(interrupt);
	sample_drop(&taken.s);
	assert_string_equal(taken.s.name, "fifteen letters");
	prctl(PR_SET_NAME, "x");
	plain(interrupt);
	sample_drop(&taken.s);
	static const char want[16] = "x";
	assert_memory_equal(taken.s.name, want, sizeof want);
	prctl(PR_SET_NAME, before);
}

/* --- every instruction -------------------------------------------------------------------------------- */

static void on_step(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	const ucontext_t *u = context;
	known = (size_t)truth.steps % 5;
	look(u);
	sample_finish(&taken.s);
	if (!is_right() && truth.wrong++ == 0) {
		truth.first_wrong = (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
		print_both();
	}
	truth.steps++;
}

static NOINLINE int nothing(void)
{
	return ++keep;
}

static NOINLINE void single_step(void)
{
	void *volatile frame = __builtin_frame_address(0); /* a frame pointer: the tables know nothing of our pushf */
	(void)frame;
	__asm__ volatile("sub $128, %%rsp\n\tpushf\n\torq $0x100, (%%rsp)\n\tpopf\n\tadd $128, %%rsp" ::
	                         : "memory", "cc");
	for (size_t i = 0; i < STEPPED_SHAPES; i++)
		shapes[i].run(nothing);
	__asm__ volatile("sub $128, %%rsp\n\tpushf\n\tandq $~0x100, (%%rsp)\n\tpopf\n\tadd $128, %%rsp" ::
	                         : "memory", "cc");
}

static void step_through(int flags)
{
	handle(SIGTRAP, on_step, flags);
	single_step();
	signal(SIGTRAP, SIG_DFL);
	assert_true(truth.steps > 100);
	assert_true(truth.unfinished > truth.steps / 2);
	if (truth.wrong)
		fail_msg("wrong at %d of %d instructions, the first at %#lx", truth.wrong, truth.steps,
		         (long)truth.first_wrong);
}

static void test_at_every_instruction_a_finished_sample_is_the_stack(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	step_through(0);
}

static void test_the_same_from_a_stack_of_the_handlers_own(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	static char other[256 * 1024];
	stack_t alt = {.ss_sp = other, .ss_size = sizeof other}, before;
	assert_int_equal(sigaltstack(&alt, &before), 0);
	step_through(SA_ONSTACK);
	sigaltstack(&before, NULL);
}

/* Wherever a timer meets it, libc's code too. */
static void on_timer(int sig, siginfo_t *info, void *context)
{
	if (truth.steps < 300)
		on_step(sig, info, context);
}

static void test_wherever_a_timer_meets_it_a_finished_sample_is_the_stack(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	enum { NUMBERS = 300 };
	static int list[NUMBERS];
	handle(SIGALRM, on_timer, SA_RESTART);
	setitimer(ITIMER_REAL, &(struct itimerval){{0, 1500}, {0, 1500}}, NULL);
	uint64_t until = os_clock_ns(CLOCK_MONOTONIC) + 120000000000u; /* a busy machine gives us little of it */
	while (truth.steps < 300 && os_clock_ns(CLOCK_MONOTONIC) < until) {
		char text[64];
		for (int i = 0; i < NUMBERS; i++)
			list[i] = i * 7919 % 1000 + snprintf(text, sizeof text, "%d %s", i, "text");
		qsort(list, NUMBERS, sizeof *list, compare);
	}
	setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
	signal(SIGALRM, SIG_IGN);
	if (truth.wrong)
		fail_msg("wrong at %d of %d places, the first at %#lx", truth.wrong, truth.steps,
		         (long)truth.first_wrong);
	assert_true(truth.steps >= 100);
}

/* --- limits -------------------------------------------------------------------------------------------- */

static void test_no_sample_is_deeper_than_was_asked_for(void **state)
{
	static const size_t depths[] = {1, 2, 3, 10, 31, 512};
	(void)state;
#if SANITIZED
	skip();
#endif
	for (size_t i = 0; i < COUNT(depths); i++) {
		settings.stack_depth = depths[i];
		assert_int_equal(sample_depth(), depths[i]);
		assert_int_equal(sample_bytes() % 64, 0);
		assert_true(sample_bytes() >= sizeof(struct sample) + depths[i] * sizeof(uintptr_t));
		for (known = 0; known < 12; known++) {
			memset(&taken, 0xee, sizeof taken);
			thirty(interrupt);
			sample_finish(&taken.s);
			size_t marks = cut_of(taken.s.pc[taken.s.depth - 1]) == CUT_DEPTH;
			assert_int_equal(taken.s.depth, truth.depth + marks);
			assert_true(!marks || truth.depth == depths[i]);
			assert_true(marks || depths[i] > 30);
			assert_memory_equal(taken.s.pc, truth.pc, truth.depth * sizeof *truth.pc);
			assert_true(truth.depth <= depths[i]);
			if (taken.s.depth < MAX)
				assert_true(taken.s.pc[depths[i] + 1 < MAX ? depths[i] + 1 : taken.s.depth] ==
				            0xeeeeeeeeeeeeeeee);
		}
	}
}

static void test_copies_are_given_back_and_used_again(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	static int copy[COPIES];
	bool met[COPIES] = {false};
	for (int round = 0; round < 3; round++) {
		memset(met, 0, sizeof met);
		for (int i = 0; i < COPIES; i++) {
			plain(interrupt);
			assert_false(taken.s.is_short);
			assert_in_range(taken.s.copy, 0, COPIES - 1);
			assert_false(met[taken.s.copy]);
			met[taken.s.copy] = true;
			copy[i] = taken.s.copy;
		}
		for (int i = 0; i < 3; i++) { /* there is none left */
			plain(interrupt);
			assert_true(taken.s.is_short && taken.s.copy < 0 && taken.s.depth == 1);
			sample_finish(&taken.s);
			assert_int_equal(taken.s.depth, 2);
			assert_int_equal(cut_of(taken.s.pc[1]), CUT_BUSY);
		}
		struct sample one = {.copy = (int16_t)copy[7]};
		sample_drop(&one);
		assert_true(one.copy < 0);
		sample_drop(&one); /* nothing more */
		plain(interrupt);
		assert_int_equal(taken.s.copy, copy[7]);
		if (round == 1) {
			sample_fork_child(); /* all of them */
			continue;
		}
		for (int i = 0; i < COPIES; i++)
			sample_drop(&(struct sample){.copy = (int16_t)i});
	}
}

static NOINLINE int far(int (*next)(void)) /* more than a copy holds */
{
	volatile char a[3 * 16384];
	a[keep & 1] = 1;
	return with_array(next) + a[0] + keep;
}

static void test_of_a_stack_that_is_larger_than_a_copy_the_near_part_is_right(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	far(interrupt);
	sample_finish(&taken.s);
	assert_int_equal(cut_of(taken.s.pc[--taken.s.depth]), CUT_NEW_CODE);
	assert_true(taken.s.depth > 2 && taken.s.depth < truth.depth);
	assert_memory_equal(taken.s.pc, truth.pc, taken.s.depth * sizeof *truth.pc);
	bool met = false;
	for (size_t i = 0; i < taken.s.depth; i++)
		met |= taken.s.pc[i] >= (uintptr_t)with_array && taken.s.pc[i] < (uintptr_t)with_array + 200;
	assert_true(met);
}

/* "Its inner end, and its outer end": a frame between them may be as large as it likes. */
static void test_where_the_end_of_the_stack_is_known_a_huge_frame_is_no_obstacle(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	uintptr_t end = (uintptr_t)environ;
	self.stack = (struct stack_bounds){.lo = end - (1 << 20), .hi = end + PAGE};
	sample_main_stack(self.stack.hi, end);
	far(interrupt);
	sample_finish(&taken.s);
	self.stack = (struct stack_bounds){0};
	assert_true(truth.unfinished > 0);
	if (!is_right()) {
		print_both();
		fail_msg("not whole");
	}
}

static ucontext_t main_context, own_context;
static void own_main(void)
{
	with_alloca(interrupt);
	keep++;
}

/* Nothing readable beyond it. */
static void at_the_end(void)
{
	enum { PAGES = 16 };
	static char handlers[256 * 1024];
	stack_t alt = {.ss_sp = handlers, .ss_size = sizeof handlers};
	CHECK(sigaltstack(&alt, NULL) == 0);
	handle(SIGUSR1, on_signal, SA_ONSTACK);
	char *p = mmap(NULL, (PAGES + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED && mprotect(p + PAGE, PAGES * PAGE, PROT_READ | PROT_WRITE) == 0);
	getcontext(&own_context);
	own_context.uc_stack.ss_sp = p + PAGE;
	own_context.uc_stack.ss_size = PAGES * PAGE;
	own_context.uc_link = &main_context;
	makecontext(&own_context, own_main, 0);
	swapcontext(&main_context, &own_context);
	CHECK(taken.s.copy >= 0);
	sample_finish(&taken.s);
	CHECK(is_right());
}

static void test_a_copy_ends_where_memory_ends(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_child(at_the_end);
}

/* A stack pointer that is none: no crash, and a stack of one frame. */
static void wild_pointers(void)
{
	static const uintptr_t sps[] = {
		0, 8, 4096, 0x7ffffffff000, 1ull << 47, 1ull << 63, UINTPTR_MAX, UINTPTR_MAX - 7, 0x1234567, 3};
	for (size_t i = 0; i < COUNT(sps); i++)
		for (int warm = 0; warm < 2; warm++) {
			struct unwind_frame f = {
				.pc = (uintptr_t)plain + 4, .sp = sps[i], .fp = sps[COUNT(sps) - 1 - i]};
			unwind_forget();
			struct stack_bounds stack = {0};
			uintptr_t good[16] = {0};
			if (warm)
				unwind_walk((struct unwind_frame){f.pc, (uintptr_t)good, (uintptr_t)good, NULL}, &stack,
				            truth.pc, 5, &(enum stack_cut){0});
			sample_take(&taken.s, f);
			sample_finish(&taken.s);
			CHECK(taken.s.depth == 2 && taken.s.pc[0] == f.pc && taken.s.copy < 0 &&
			      cut_of(taken.s.pc[1]) != CUT_NOT);
		}
}

static void test_a_stack_pointer_into_nothing_does_no_harm(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_child(wild_pointers);
}

/* --- what is left out ------------------------------------------------------------------------------- */

static void leave_out(int (*f)(int (*)(void)))
{
	unwind_leave_out((const void *)(uintptr_t)f, (const char *)(uintptr_t)f + 40);
}

static NOINLINE int through_plain(void)
{
	return plain(interrupt) + keep;
}

static void test_frames_that_are_left_out_stay_out_wherever_the_walk_is_taken_up(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	leave_out(plain);
	for (known = 0; known < 12; known++) {
		with_alloca(through_plain);
		sample_finish(&taken.s);
		if (!is_right()) {
			print_both();
			unwind_leave_out(NULL, NULL);
			fail_msg("%zu frames known", known);
		}
		for (size_t i = 0; i < taken.s.depth; i++)
			assert_true(taken.s.pc[i] - (uintptr_t)plain >= 40);
	}
	unwind_leave_out(NULL, NULL);
}

static void test_the_frame_that_executes_is_left_out_too(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	union {
		struct sample s;
		char room[sizeof taken];
	} mine;
	struct unwind_frame f = UNWIND_CALLER();
	struct unwind_known out;
	struct stack_bounds stack = {0};
	uintptr_t all[MAX], pc[MAX];
	size_t n = unwind_walk(f, &stack, all, MAX, &(enum stack_cut){0});
	unwind_leave_out((const void *)f.pc, (const void *)(f.pc + 1));
	assert_int_equal(unwind_walk_known(f, &stack, pc, MAX, &out), n - 1); /* all is known */
	assert_int_equal(pc[0], all[1]);
	unwind_forget();
	sample_take(&mine.s, f); /* nothing is */
	assert_true(mine.s.copy >= 0);
	sample_finish(&mine.s);
	unwind_leave_out(NULL, NULL);
	assert_int_equal(mine.s.pc[0], all[1]);
	assert_int_equal(mine.s.depth, n - 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, reset)
	const struct CMUnitTest tests[] = {
		TEST(test_before_there_is_memory_a_stack_is_short_and_says_so),
		TEST(test_a_finished_sample_is_the_stack_whatever_was_known),
		TEST(test_where_all_is_known_nothing_is_left_to_do),
		TEST(test_the_name_of_the_thread_is_in_the_sample),
		TEST(test_at_every_instruction_a_finished_sample_is_the_stack),
		TEST(test_the_same_from_a_stack_of_the_handlers_own),
		TEST(test_wherever_a_timer_meets_it_a_finished_sample_is_the_stack),
		TEST(test_no_sample_is_deeper_than_was_asked_for),
		TEST(test_copies_are_given_back_and_used_again),
		TEST(test_of_a_stack_that_is_larger_than_a_copy_the_near_part_is_right),
		TEST(test_where_the_end_of_the_stack_is_known_a_huge_frame_is_no_obstacle),
		TEST(test_a_copy_ends_where_memory_ends),
		TEST(test_a_stack_pointer_into_nothing_does_no_harm),
		TEST(test_frames_that_are_left_out_stay_out_wherever_the_walk_is_taken_up),
		TEST(test_the_frame_that_executes_is_left_out_too),
	};
	return cmocka_run_group_tests(tests, start, NULL);
}
