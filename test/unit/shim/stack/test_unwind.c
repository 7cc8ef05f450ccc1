/* test_unwind.c - the walk against libgcc's, over frames of every shape, through signal handlers.
 *
 * Runs in: its own process. Code that may crash runs in a child, so that a crash is one failed test.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/stack/unwind.c shim/stack/step.c shim/stack/bounds.c shim/stack/rules.c shim/stack/code.c
 * links: shim/stack/look.c shim/stack/learn.c shim/stack/tables.c shim/stack/eh_frame.c shim/stack/own_stack.c
 * links: shim/stack/unwind_libc.c
 * links: shim/libc/clock.c shim/libc/modules.c shim/libc/loaded.c shim/libc/headers.c
 * links: shim/libc/real.c shim/base/losses.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#include "test/unit/shim/stack/unwind_made.h"

/* --- frames of every shape --------------------------------------------------------------------- */

static void test_the_walk_agrees_with_libgccs_for_every_shape_of_frame(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(shapes); i++)
		for (int round = 0; round < 2; round++) { /* learned, then cached */
			shapes[i].run(take);
			expect_the_same(shapes[i].name);
		}
}

static const struct shape *second;
static NOINLINE int in_second(void)
{
	return second->run(take) + keep;
}

static void test_the_walk_agrees_for_every_pair_of_shapes(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(shapes); i++)
		for (size_t k = 0; k < COUNT(shapes); k++) {
			char what[64];
			second = &shapes[k];
			shapes[i].run(in_second);
			snprintf(what, sizeof what, "%s over %s", shapes[k].name, shapes[i].name);
			expect_the_same(what);
		}
}

static NOINLINE int recurse(int depth)
{
	return depth ? recurse(depth - 1) + keep : take();
}

static void test_a_deep_stack_is_walked_to_the_limit_and_no_further(void **state)
{
	(void)state;
	recurse(40);
	expect_the_same("40 deep");
	recurse(1000);
	assert_int_equal(taken.n, MAX);
	for (int i = 1; i < MAX; i++)
		if (i < MAX - 1)
			assert_true(taken.pc[i - 1] + 1 == (uintptr_t)taken.truth[i]);
	for (size_t max = 1; max <= 5; max++) {
		uintptr_t pc[6] = {0, 0, 0, 0, 0, 0};
		struct stack_bounds stack = {0};
		assert_int_equal(unwind_walk(UNWIND_CALLER(), &stack, pc, max, &(enum stack_cut){0}),
		                 max < 5 ? max : unwind_walk(UNWIND_CALLER(), &stack, pc, 5, &(enum stack_cut){0}));
		assert_int_equal(pc[max], 0);
	}
}

static void test_after_forgetting_the_walk_is_the_same(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		aligned(take);
		expect_the_same("before");
		unwind_forget();
		aligned(take);
		expect_the_same("after");
	}
}

static void *walk_in_thread(void *arg)
{
	struct taken mine = {.n = 0};
	struct stack_bounds stack = {0};
	size_t *wrong = arg;
	for (int i = 0; i < 2000; i++) {
		uintptr_t pc[MAX];
		size_t n = unwind_walk(UNWIND_CALLER(), &stack, pc, MAX, &(enum stack_cut){0});
		if (i == 0) {
			mine.n = n;
			memcpy(mine.pc, pc, sizeof pc);
		} else if (n != mine.n || memcmp(pc, mine.pc, n * sizeof *pc) != 0) {
			++*wrong;
		}
		if (i % 100 == 50)
			unwind_forget(); /* under the feet of the others */
	}
	return NULL;
}

static void test_threads_that_learn_and_forget_at_once_see_whole_rules(void **state)
{
	(void)state;
	enum { THREADS = 4 };
	pthread_t t[THREADS];
	size_t wrong[THREADS] = {0};
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, walk_in_thread, &wrong[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(wrong[i], 0);
}

static void *take_in_thread(void *arg)
{
	with_alloca(take);
	return arg;
}

static void test_the_stack_of_a_thread_is_walked_to_its_end(void **state)
{
	(void)state;
	pthread_t t;
	assert_int_equal(pthread_create(&t, NULL, take_in_thread, NULL), 0);
	pthread_join(t, NULL);
	expect_the_same("thread");
}

/* A library that was not there when the list was made. */
static void test_a_library_loaded_later_is_walked_through(void **state)
{
	(void)state;
	void *h = dlopen("libz.so.1", RTLD_NOW);
	if (!h)
		skip();
	void *(*init)(void *, int, const char *, int) =
		(void *(*)(void *, int, const char *, int))dlsym(h, "deflateInit_");
	assert_non_null(init);
	const struct module *m = modules_find((uintptr_t)init);
	assert_non_null(m);
	assert_non_null(strstr(m->path, "libz.so"));
	assert_true(m->unwind_table != 0);
	struct unwind_rule r = unwind_learn((uintptr_t)init);
	assert_int_equal(r.kind, UNWIND_SP); /* the first instruction: nothing is pushed yet */
	assert_int_equal(r.cfa_offset, 8);
	assert_int_equal(r.fp_at, 0);
}

/* --- the rule of each address, one by one ------------------------------------------------------ */

static struct {
	int steps, wrong;
	uintptr_t interrupted;
	void *outer[MAX]; /* libgcc's view of the function that is stepped through: itself, its caller, … */
	int outers;
} stepped;

/* A step in the function itself, in one that it calls, or in one that this calls. */
static bool is_right_from(uintptr_t rip)
{
	size_t n = taken.n, outers = (size_t)stepped.outers - 1;
	/* pc[0]: the return into the kernel's trampoline; pc[1]: where the program was, exactly */
	if (n < 2 + outers || n > 4 + outers || taken.pc[1] != rip)
		return false;
	for (size_t i = 0; i < outers; i++)
		if (taken.pc[n - outers + i] + 1 != (uintptr_t)stepped.outer[i + 1])
			return false;
	return true;
}

static void on_step(int signal, siginfo_t *info, void *context)
{
	static struct stack_bounds stack;
	(void)signal, (void)info;
	ucontext_t *u = context;
	uintptr_t rip = (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
	taken.n = unwind_walk(UNWIND_CALLER(), &stack, taken.pc, MAX, &(enum stack_cut){0});
	if (!is_right_from(rip) && stepped.wrong++ == 0) {
		stepped.interrupted = rip;
		for (size_t i = 0; i < taken.n; i++)
			print_message("#%zu %#lx\n", i, (long)taken.pc[i]);
	}
	stepped.steps++;
}

static NOINLINE int nothing(void)
{
	return ++keep;
}

/* Every instruction of these functions, prologues and epilogues too, traps. (Not of those that realign a frame of
 * variable size: gcc's tables have gaps there.) */
static NOINLINE void single_step(void)
{
	void *volatile frame = __builtin_frame_address(0); /* a frame pointer: the tables know nothing of our pushf */
	(void)frame;
	stepped.outers = libc_backtrace(stepped.outer, MAX);
	__asm__ volatile("sub $128, %%rsp\n\tpushf\n\torq $0x100, (%%rsp)\n\tpopf\n\tadd $128, %%rsp" ::
	                         : "memory", "cc");
	for (size_t i = 0; i < STEPPED_SHAPES; i++)
		shapes[i].run(nothing);
	__asm__ volatile("sub $128, %%rsp\n\tpushf\n\tandq $~0x100, (%%rsp)\n\tpopf\n\tadd $128, %%rsp" ::
	                         : "memory", "cc");
}

static void step_through(int flags)
{
	struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO | flags}, before;
	memset(&stepped, 0, sizeof stepped);
	memset(&taken, 0, sizeof taken);
	assert_int_equal(sigaction(SIGTRAP, &action, &before), 0);
	single_step();
	sigaction(SIGTRAP, &before, NULL);
	assert_true(stepped.steps > 100);
	if (stepped.wrong)
		fail_msg("the walk is wrong at %d of %d instructions, the first at %#lx", stepped.wrong, stepped.steps,
		         (long)stepped.interrupted);
}

static void test_through_a_signal_handler_every_instruction_is_walked_right(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	step_through(0);
}

static void test_a_handler_on_a_stack_of_its_own_leads_to_the_interrupted_one(void **state)
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_walk_agrees_with_libgccs_for_every_shape_of_frame),
		cmocka_unit_test(test_the_walk_agrees_for_every_pair_of_shapes),
		cmocka_unit_test(test_a_deep_stack_is_walked_to_the_limit_and_no_further),
		cmocka_unit_test(test_after_forgetting_the_walk_is_the_same),
		cmocka_unit_test(test_threads_that_learn_and_forget_at_once_see_whole_rules),
		cmocka_unit_test(test_the_stack_of_a_thread_is_walked_to_its_end),
		cmocka_unit_test(test_a_library_loaded_later_is_walked_through),
		cmocka_unit_test(test_through_a_signal_handler_every_instruction_is_walked_right),
		cmocka_unit_test(test_a_handler_on_a_stack_of_its_own_leads_to_the_interrupted_one),
	};
	return cmocka_run_group_tests(tests, start, NULL);
}
