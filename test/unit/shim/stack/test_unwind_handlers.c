/* test_unwind_handlers.c - the walk in signal handlers, and from outside.
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

/* --- in signal handlers, and from outside ---------------------------------------------------------------- */

static struct {
	size_t n, known;
	uintptr_t pc[MAX];
	struct unwind_frame start;
	struct unwind_known out;
} in_handler;

/* As a handler would; then the truth, which learns. */
static NOINLINE int take_known(void)
{
	struct stack_bounds stack = {0};
	in_handler.start = UNWIND_CALLER();
	unwind_forget();
	if (in_handler.known)
		unwind_walk(in_handler.start, &stack, taken.pc, in_handler.known, &(enum stack_cut){0});
	in_handler.n =
		unwind_walk_known(in_handler.start, &(struct stack_bounds){0}, in_handler.pc, MAX, &in_handler.out);
	taken.truths = libc_backtrace(taken.truth, MAX);
	stack = (struct stack_bounds){0};
	taken.n = unwind_walk(in_handler.start, &stack, taken.pc, MAX, &(enum stack_cut){0});
	return ++keep;
}

static void test_without_a_rule_a_handlers_walk_ends_and_says_where(void **state)
{
	(void)state;
	in_handler.known = 0;
	for (size_t i = 0; i < COUNT(shapes); i++) {
		shapes[i].run(take_known);
		assert_int_equal(in_handler.n, 1);
		assert_int_equal(in_handler.pc[0], in_handler.start.pc);
		assert_memory_equal(&in_handler.out.rest, &in_handler.start, sizeof in_handler.start);
		expect_the_same(shapes[i].name);
	}
}

static void test_a_handlers_walk_goes_as_far_as_the_rules_are_known(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(shapes); i++)
		for (in_handler.known = 1; in_handler.known < MAX;
		     in_handler.known = in_handler.known < 12 ? in_handler.known + 1 : MAX) {
			shapes[i].run(take_known);
			assert_in_range(in_handler.n, in_handler.known < taken.n ? in_handler.known : taken.n, taken.n);
			assert_memory_equal(in_handler.pc, taken.pc, in_handler.n * WORD);
			if (in_handler.n < taken.n)
				assert_int_equal(in_handler.out.rest.pc, in_handler.pc[in_handler.n - 1]);
		}
	in_handler.known = MAX;
	plain(take_known);
	assert_int_equal(in_handler.n, taken.n);
	assert_int_equal(in_handler.out.rest.pc, 0);
}

static void test_a_handlers_walk_is_no_longer_than_was_asked_for(void **state)
{
	(void)state;
	struct stack_bounds stack = {0};
	struct unwind_frame f = UNWIND_CALLER();
	struct unwind_known out;
	uintptr_t all[MAX], pc[MAX];
	size_t n = unwind_walk(f, &stack, all, MAX, &(enum stack_cut){0});
	for (size_t max = 1; max < n; max++) {
		memset(pc, 0, sizeof pc);
		assert_int_equal(unwind_walk_known(f, &(struct stack_bounds){0}, pc, max, &out), max);
		assert_memory_equal(pc, all, max * WORD);
		assert_int_equal(pc[max], 0);
		assert_int_equal(out.rest.pc, 0);
		assert_int_equal(out.cut, CUT_DEPTH);
	}
}

/* Made at run time: by the frame pointer; it is enough to know that code lies there. */
static void known_without_tables(void)
{
	char *area = fenced_pages(2), *code = made_code();
	uintptr_t sp = (uintptr_t)area + 512, *w = (uintptr_t *)sp, pc[MAX];
	struct unwind_known out;
	struct unwind_frame f = {(uintptr_t)code + 7, sp, (uintptr_t)&w[4], NULL};
	w[4] = (uintptr_t)&w[20], w[5] = (uintptr_t)code + 50;
	w[20] = 0, w[21] = (uintptr_t)code + 60;
	/* nobody knows yet that there is code */
	CHECK(unwind_walk_known(f, &(struct stack_bounds){0}, pc, MAX, &out) == 1 && out.rest.pc == f.pc);
	CHECK(unwind_learn((uintptr_t)code + 7).kind == UNWIND_CHAIN);
	CHECK(unwind_walk_known(f, &(struct stack_bounds){0}, pc, MAX, &out) == 3);
	CHECK(pc[0] == (uintptr_t)code + 7 && pc[1] == (uintptr_t)code + 49 && pc[2] == (uintptr_t)code + 59 &&
	      out.rest.pc == 0);
	const uintptr_t bad[] = {1,
	                         8,
	                         sp - 8,
	                         sp + 3,
	                         (uintptr_t)area + 2 * PAGE - 8,
	                         (uintptr_t)area + 2 * PAGE,
	                         UINTPTR_MAX,
	                         UINTPTR_MAX - 15,
	                         1ull << 47};
	for (size_t i = 0; i < COUNT(bad); i++)
		CHECK(unwind_walk_known((struct unwind_frame){(uintptr_t)code + 7, sp, bad[i], NULL},
		                        &(struct stack_bounds){0}, pc, MAX, &out) == 1);
}

static void test_in_a_handler_code_without_tables_is_walked_by_frame_pointers(void **state)
{
	(void)state;
	in_child_after(child_begin, known_without_tables);
}

/* A copy of the stack, somewhere else. */
static struct {
	uintptr_t from, bytes;
	char stack[64 * 1024];
	int reads;
} copied;

static bool read_copied(void *memory, uintptr_t at, uintptr_t *value)
{
	assert_ptr_equal(memory, &copied);
	assert_int_equal(at % WORD, 0);
	copied.reads++;
	if (at < copied.from || at - copied.from + WORD > copied.bytes)
		return false;
	memcpy(value, copied.stack + (at - copied.from), WORD);
	return true;
}

static struct {
	bool no_fp, marked;
	uintptr_t limit;          /* of what can be read */
	struct unwind_frame mark; /* set by with_mark */
	struct unwind_elsewhere e;
	uintptr_t pc[MAX];
	size_t n;
} elsewhere;

static NOINLINE int take_copy_and_walk(void)
{
	static __thread struct stack_bounds stack;
	struct unwind_frame f = UNWIND_CALLER();
	taken.truths = libc_backtrace(taken.truth, MAX);
	taken.n = unwind_walk(f, &stack, taken.pc, MAX, &(enum stack_cut){0});
	copied.from = f.sp;
	copied.bytes = unwind_read_safely(copied.stack, f.sp, sizeof copied.stack);
	if (elsewhere.limit && elsewhere.limit < copied.bytes)
		copied.bytes = elsewhere.limit;
	if (elsewhere.no_fp)
		f.fp = UNWIND_NO_FP;
	elsewhere.e = (struct unwind_elsewhere){
		.read = read_copied, .memory = &copied, .mark = elsewhere.marked ? &elsewhere.mark : NULL};
	elsewhere.n = unwind_walk_elsewhere(f, &elsewhere.e, elsewhere.pc, MAX);
	return ++keep;
}

static void test_a_copied_stack_is_walked_as_the_stack_itself(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	memset(&elsewhere, 0, sizeof elsewhere);
	for (size_t i = 0; i < COUNT(shapes); i++)
		for (int round = 0; round < 2; round++) { /* learned, then cached */
			if (!round)
				unwind_forget();
			shapes[i].run(take_copy_and_walk);
			expect_the_same(shapes[i].name);
			assert_int_equal(elsewhere.n, taken.n);
			assert_memory_equal(elsewhere.pc, taken.pc, taken.n * WORD);
			assert_true(copied.reads > 0);
			assert_false(elsewhere.e.passed);
		}
	for (elsewhere.limit = WORD; elsewhere.limit < 4000; elsewhere.limit += 72) { /* which ends early */
		with_array(take_copy_and_walk);
		assert_in_range(elsewhere.n, 1, taken.n);
		assert_memory_equal(elsewhere.pc, taken.pc, elsewhere.n * WORD);
	}
}

/* Like a hook: it has a frame pointer, and knows its caller's registers. */
static int (*behind_hook)(int (*)(void));
static NOINLINE int hook(void)
{
	elsewhere.mark = UNWIND_CALLER();
	return behind_hook(take_copy_and_walk) + keep;
}

static NOINLINE int framed(int (*next)(void))
{
	volatile char *a = alloca((size_t)(keep & 63) + 1); /* found by the frame pointer, once that is known */
	a[0] = 1;
	return next() + a[0] + keep;
}

static void test_a_frame_on_the_way_makes_up_for_an_unknown_frame_pointer(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	memset(&elsewhere, 0, sizeof elsewhere);
	elsewhere.no_fp = elsewhere.marked = true;
	behind_hook = plain; /* itself found by the stack pointer alone */
	for (int round = 0; round < 2; round++) {
		framed(hook);
		if (elsewhere.e.passed) {
			assert_int_equal(elsewhere.n, taken.n);
			assert_memory_equal(elsewhere.pc, taken.pc, taken.n * WORD);
		} else { /* it stopped at the frame that needs it, and read nothing wild */
			assert_in_range(elsewhere.n, 1, taken.n - 1);
			assert_memory_equal(elsewhere.pc, taken.pc, elsewhere.n * WORD);
		}
	}
	elsewhere.no_fp = false;
	framed(hook);
	assert_true(elsewhere.e.passed);
	assert_int_equal(elsewhere.n, taken.n);
	assert_memory_equal(elsewhere.pc, taken.pc, taken.n * WORD);
}

static NOINLINE int with_mark_at_once(void)
{
	elsewhere.mark = UNWIND_CALLER();
	static __thread struct stack_bounds stack;
	taken.n = unwind_walk(elsewhere.mark, &stack, taken.pc, MAX, &(enum stack_cut){0});
	copied.from = elsewhere.mark.sp;
	copied.bytes = unwind_read_safely(copied.stack, copied.from, sizeof copied.stack);
	struct unwind_frame f = {.pc = elsewhere.mark.pc, .sp = elsewhere.mark.sp, .fp = UNWIND_NO_FP};
	elsewhere.e = (struct unwind_elsewhere){.read = read_copied, .memory = &copied, .mark = &elsewhere.mark};
	elsewhere.n = unwind_walk_elsewhere(f, &elsewhere.e, elsewhere.pc, MAX);
	return ++keep;
}

static void test_the_marks_frame_pointer_is_used_from_there_on(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	framed(with_mark_at_once);
	assert_true(elsewhere.e.passed);
	assert_true(taken.n > 3);
	assert_int_equal(elsewhere.n, taken.n);
	assert_memory_equal(elsewhere.pc, taken.pc, taken.n * WORD);
}

static void test_a_mark_that_is_not_on_the_way_is_not_passed(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	memset(&elsewhere, 0, sizeof elsewhere);
	elsewhere.marked = true;
	elsewhere.mark = (struct unwind_frame){.pc = (uintptr_t)plain, .sp = (uintptr_t)&elsewhere, .fp = 8};
	with_alloca(take_copy_and_walk);
	assert_false(elsewhere.e.passed);
	assert_int_equal(elsewhere.n, taken.n);
	assert_memory_equal(elsewhere.pc, taken.pc, taken.n * WORD);
	expect_the_same("with a mark elsewhere");
}

/* Last: what is left out stays out. */
static void test_frames_of_the_library_itself_are_left_out(void **state)
{
	(void)state;
	plain(take);
	size_t all = taken.n;
	uintptr_t leaf = taken.pc[0], caller = taken.pc[1];
	assert_true(leaf >= (uintptr_t)plain && leaf < (uintptr_t)plain + 64);
	unwind_leave_out((const void *)leaf, (const void *)(leaf + 1));
	plain(take);
	assert_int_equal(taken.n, all - 1);
	assert_int_equal(taken.pc[0] - caller, taken.pc[0] - caller);
	assert_true(taken.pc[0] != leaf);
	unwind_leave_out(NULL, NULL);
	plain(take);
	assert_int_equal(taken.n, all);
	assert_int_equal(taken.pc[0], leaf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_a_rule_a_handlers_walk_ends_and_says_where),
		cmocka_unit_test(test_a_handlers_walk_goes_as_far_as_the_rules_are_known),
		cmocka_unit_test(test_a_handlers_walk_is_no_longer_than_was_asked_for),
		cmocka_unit_test(test_in_a_handler_code_without_tables_is_walked_by_frame_pointers),
		cmocka_unit_test(test_a_copied_stack_is_walked_as_the_stack_itself),
		cmocka_unit_test(test_a_frame_on_the_way_makes_up_for_an_unknown_frame_pointer),
		cmocka_unit_test(test_the_marks_frame_pointer_is_used_from_there_on),
		cmocka_unit_test(test_a_mark_that_is_not_on_the_way_is_not_passed),
		cmocka_unit_test(test_frames_of_the_library_itself_are_left_out),
	};
	return cmocka_run_group_tests(tests, start, NULL);
}
