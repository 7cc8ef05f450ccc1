/* test_unwind_edges.c - the walk at the edges of memory and of stacks.
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

/* --- the edges of memory ----------------------------------------------------------------------- */

static size_t walk_from(uintptr_t pc, uintptr_t sp, uintptr_t fp)
{
	struct stack_bounds stack = {0};
	uintptr_t out[MAX];
	size_t n = unwind_walk((struct unwind_frame){.pc = pc, .sp = sp, .fp = fp}, &stack, out, MAX,
	                       &(enum stack_cut){0});
	CHECK(n >= 1 && n <= MAX && out[0] == pc);
	return n;
}

static uint64_t random_state = 0x9e3779b97f4a7c15u;
static uint64_t next_random(void)
{
	random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
	return random_state;
}

static uintptr_t base_of_libc(size_t *size)
{
	const struct module *m = modules_find((uintptr_t)qsort);
	CHECK(m);
	*size = m->text[0].end - m->text[0].start;
	return m->text[0].start;
}

static void fake_frames_without_tables(void)
{
	char *area = fenced_pages(2), *code = made_code();
	uintptr_t sp = (uintptr_t)area + 512, end = (uintptr_t)area + 2 * PAGE;
	const uintptr_t fps[] = {0,
	                         1,
	                         8,
	                         sp - 16,
	                         sp,
	                         sp + 1,
	                         sp + 16,
	                         end - 16,
	                         end - 15,
	                         end - 8,
	                         end,
	                         end + 8,
	                         end + PAGE,
	                         sp + (1 << 20),
	                         sp + (1 << 20) + 8,
	                         (uintptr_t)1 << 47,
	                         ((uintptr_t)1 << 63) + 8,
	                         UINTPTR_MAX,
	                         UINTPTR_MAX - 7,
	                         UINTPTR_MAX - 15,
	                         UINTPTR_MAX - 23};
	for (size_t i = 0; i < COUNT(fps); i++) {
		memset(area, 0, 2 * PAGE);
		CHECK(walk_from((uintptr_t)code + 7, sp, fps[i]) <= 2);
		memset(area, 0xff, 2 * PAGE);
		walk_from((uintptr_t)code + 7, sp, fps[i]);
		for (size_t w = 0; w < 2 * PAGE / WORD; w++) /* frames that point at themselves and at each other */
			((uintptr_t *)area)[w] = w % 2 ? (uintptr_t)code + 100 : (uintptr_t)area + w * WORD;
		walk_from((uintptr_t)code + 7, sp, fps[i]);
		/* at the very end of the area */
		walk_from((uintptr_t)code + 7, end - 16, fps[i]);
		walk_from((uintptr_t)code + 7, end, fps[i]);
	}
	/* a proper chain of two, then its end */
	memset(area, 0, 2 * PAGE);
	uintptr_t *w = (uintptr_t *)sp;
	w[4] = (uintptr_t)&w[20], w[5] = (uintptr_t)code + 50;
	w[20] = 0, w[21] = (uintptr_t)code + 60;
	CHECK(walk_from((uintptr_t)code + 7, sp, (uintptr_t)&w[4]) == 3);
}

static void test_fake_frame_pointers_in_code_without_tables_do_no_harm(void **state)
{
	(void)state;
	in_child_after(child_begin, fake_frames_without_tables);
}

/* Frames whose rules ask for fp, with every kind of fp; the words they find there are as bad. */
static void fake_registers_with_tables(void)
{
	char *area = fenced_pages(4);
	uintptr_t sp = (uintptr_t)area + PAGE, end = (uintptr_t)area + 4 * PAGE;
	const uintptr_t fps[] = {0,
	                         8,
	                         16,
	                         24,
	                         32,
	                         40,
	                         48,
	                         56,
	                         64,
	                         sp - 8,
	                         sp,
	                         sp + 8,
	                         sp + 3,
	                         end - 8,
	                         end,
	                         end + 8,
	                         end + PAGE,
	                         (uintptr_t)1 << 47,
	                         (uintptr_t)1 << 63,
	                         UINTPTR_MAX,
	                         UINTPTR_MAX - 7,
	                         UINTPTR_MAX - 15,
	                         UINTPTR_MAX - 23,
	                         UINTPTR_MAX - 31,
	                         UINTPTR_MAX - 39,
	                         UINTPTR_MAX - 47,
	                         UINTPTR_MAX - 55};
	const uintptr_t words[] = {0,
	                           sp + 64,
	                           UINTPTR_MAX,
	                           UINTPTR_MAX - 7,
	                           end,
	                           end - 8,
	                           end + 8,
	                           (uintptr_t)qsort + 100,
	                           (uintptr_t)1 << 47,
	                           8};
	int kinds[UNWIND_NOWHERE + 1] = {0};
	for (size_t k = 0; k < COUNT(shapes); k++)
		for (uintptr_t pc = (uintptr_t)shapes[k].run; pc < (uintptr_t)shapes[k].run + 120; pc += 3) {
			kinds[unwind_learn(pc).kind]++;
			for (size_t i = 0; i < COUNT(fps); i++)
				for (size_t j = 0; j < COUNT(words); j++) {
					for (size_t w = 0; w < 4 * PAGE / WORD; w += j == 0 ? 1 : 1 + next_random() % 3)
						((uintptr_t *)area)[w] = words[j];
					walk_from(pc, sp, fps[i]);
					if (i % 4 == 0)
						walk_from(pc, end - 8 * (i / 4), fps[i]);
				}
		}
	CHECK(kinds[UNWIND_SP] && kinds[UNWIND_FP]);
}

static void test_bad_registers_in_code_with_tables_do_no_harm(void **state)
{
	(void)state;
	in_child_after(child_begin, fake_registers_with_tables);
}

/* The rule "*(fp - 8)" and a frame pointer of 0: the last word of the address space. */
static void deref_of_zero(void)
{
	char *area = fenced_pages(1);
	bool met = false;
	for (size_t k = 0; k < COUNT(shapes); k++)
		for (uintptr_t pc = (uintptr_t)shapes[k].run; pc < (uintptr_t)shapes[k].run + 200; pc++) {
			struct unwind_rule r = unwind_learn(pc);
			if (r.kind != UNWIND_FP_DEREF)
				continue;
			met = true;
			for (int32_t off = -64; off <= 64; off += 8)
				walk_from(pc, (uintptr_t)area + 128, (uintptr_t)(intptr_t)(off - r.cfa_offset));
		}
	_exit(met ? 0 : 77);
}

static void test_a_frame_pointer_that_leads_to_the_end_of_the_address_space_does_no_harm(void **state)
{
	(void)state;
	pid_t child = fork();
	if (child == 0)
		deref_of_zero();
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status))
		fail_msg("the child was ended by signal %d", WTERMSIG(status));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("no function with such a rule was met\n");
		skip();
	}
	assert_int_equal(status, 0);
}

/* Any address of libc's code, any registers, any memory. */
static void fuzz(void)
{
	enum { ROUNDS = SANITIZED ? 6000 : 20000 };
	char *area = fenced_pages(4);
	size_t size;
	uintptr_t text = base_of_libc(&size), *word = (uintptr_t *)area;
	for (int round = 0; round < ROUNDS; round++) {
		for (int k = 0; k < 64; k++) {
			uintptr_t r = next_random(), w = r >> 8;
			word[r % (4 * PAGE / WORD)] = r >> 60 < 6    ? text + w % size
			                              : r >> 60 < 12 ? (uintptr_t)area + w % (4 * PAGE)
			                              : r >> 60 < 14 ? w % 4096
			                                             : w << 8;
		}
		uintptr_t sp = (uintptr_t)area + WORD + next_random() % (4 * PAGE / WORD - 1) * WORD;
		uintptr_t fp = round % 3 ? (uintptr_t)area + next_random() % (4 * PAGE)
		                         : next_random() << (next_random() % 64);
		walk_from(text + next_random() % size, sp, fp);
	}
}

static void test_no_mixture_of_registers_and_memory_crashes_the_walk(void **state)
{
	(void)state;
	in_child_after(child_begin, fuzz);
}

static void test_any_code_address_has_a_rule_that_fits_or_none(void **state)
{
	(void)state;
	size_t size;
	uintptr_t text = base_of_libc(&size);
	int kinds[UNWIND_NOWHERE + 1] = {0};
	enum { ROUNDS = 4000 };
	for (int i = 0; i < ROUNDS; i++) {
		struct unwind_rule r = unwind_learn(text + next_random() % size);
		assert_in_range(r.kind, UNWIND_UNKNOWN, UNWIND_OTHER);
		kinds[r.kind]++;
		if (r.kind == UNWIND_SP)
			assert_true(r.cfa_offset >= 8 && r.fp_at >= 0);
	}
	/* libc has tables for all but a little padding */
	if (kinds[UNWIND_UNKNOWN] + kinds[UNWIND_CHAIN] > ROUNDS / 20)
		fail_msg("%d unknown, %d without a table, of %d", kinds[UNWIND_UNKNOWN], kinds[UNWIND_CHAIN], ROUNDS);
	assert_true(kinds[UNWIND_SP] > ROUNDS / 2);
}

/* A rule that is learned costs a cache entry, and nothing else for ever. */
static void test_learning_many_addresses_takes_no_more_memory(void **state)
{
	(void)state;
	size_t size;
	uintptr_t text = base_of_libc(&size);
	for (int i = 0; i < 2000; i++)
		unwind_learn(text + next_random() % size);
	uint64_t before = arena_mapped_bytes();
	for (int i = 0; i < 20000; i++)
		unwind_learn(text + next_random() % size);
	assert_int_equal(arena_mapped_bytes(), before);
}

/* --- stacks of one's own ----------------------------------------------------------------------- */

static ucontext_t main_context, own_context;
static size_t own_frames;
static bool own_found;

static NOINLINE int take_on_own_stack(void)
{
	uintptr_t pc[MAX];
	struct stack_bounds stack = {0};
	own_frames = unwind_walk(UNWIND_CALLER(), &stack, pc, MAX, &(enum stack_cut){0});
	for (size_t i = 0; i < own_frames; i++)
		own_found |= pc[i] >= (uintptr_t)with_alloca && pc[i] < (uintptr_t)with_alloca + 400;
	return ++keep;
}

static void own_main(void)
{
	with_alloca(take_on_own_stack);
	keep++;
}

static void run_on(char *low, size_t bytes, void (*body)(void))
{
	getcontext(&own_context);
	own_context.uc_stack.ss_sp = low;
	own_context.uc_stack.ss_size = bytes;
	own_context.uc_link = &main_context;
	makecontext(&own_context, body, 0);
	swapcontext(&main_context, &own_context);
}

/* The frames lie as near to the end of the memory as makecontext puts them. */
static void stack_at_the_end(void)
{
	char *low = fenced_pages(16);
	run_on(low, 16 * PAGE, own_main);
	CHECK(own_found && own_frames >= 2 && own_frames < 8);
	/* an entry without a return address, at the last word */
	uintptr_t *top = (uintptr_t *)(low + 16 * PAGE);
	for (int back = 1; back < 40; back++)
		walk_from((uintptr_t)plain + 8, (uintptr_t)(top - back), 0);
}

static void test_a_stack_that_ends_where_memory_ends_is_walked_to_its_end(void **state)
{
	(void)state;
	in_child_after(child_begin, stack_at_the_end);
}

/* The learner needs room; where a guard page is near, the stack is cut, be there what may below the guard. */
static size_t room_left;
static char *own_low;

static NOINLINE int take_unlearned(void)
{
	uintptr_t pc[MAX];
	struct stack_bounds stack = {0};
	unwind_forget();
	own_frames = unwind_walk(UNWIND_CALLER(), &stack, pc, MAX, &(enum stack_cut){0});
	return ++keep;
}

static NOINLINE void narrow_main(void)
{
	char here;
	size_t use = (size_t)((uintptr_t)&here - (uintptr_t)own_low) - room_left;
	volatile char *gone = alloca(use);
	gone[0] = gone[use - 1] = 1;
	take_unlearned();
	keep += gone[0];
}

static void narrow_stacks(void)
{
	enum { PAGES = 12, GUARD = 4 };
	char *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	CHECK(mprotect(p + GUARD * PAGE, PAGE, PROT_NONE) == 0); /* one page, as below a thread's stack */
	memset(p, 0x5a, GUARD * PAGE);
	own_low = p + (GUARD + 1) * PAGE;
	/* 2 KiB is what the walk's own frames and its result take here */
	for (room_left = 2048; room_left < 5 * PAGE; room_left += 256) {
		run_on(own_low, (PAGES - GUARD - 1) * PAGE, narrow_main);
		CHECK(own_frames >= 1);
	}
	for (int i = 0; i < GUARD * PAGE; i++)
		CHECK(p[i] == 0x5a); /* and nobody wrote beyond the guard */
}

static void test_near_the_end_of_a_small_stack_the_walk_is_cut_and_nothing_is_overrun(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_child_after(child_begin, narrow_stacks);
}

/* How deep the learner goes, by the paint that it leaves. */
static void painted(void)
{
	enum { PAGES = 16 };
	char *low = fenced_pages(PAGES);
	memset(low, 0x5a, PAGES * PAGE);
	own_low = low;
	room_left = 10 * PAGE;
	run_on(low, PAGES * PAGE, narrow_main);
	size_t untouched = 0;
	while (low[untouched] == 0x5a)
		untouched++;
	/* below narrow_main's frame: the walk's own, its result, and two pages that the learner checked for */
	CHECK(untouched < room_left && room_left - untouched < MAX * WORD + 1024 + 2 * PAGE);
}

static void test_the_learner_stays_within_the_room_that_it_checks_for(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_child_after(child_begin, painted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fake_frame_pointers_in_code_without_tables_do_no_harm),
		cmocka_unit_test(test_bad_registers_in_code_with_tables_do_no_harm),
		cmocka_unit_test(test_a_frame_pointer_that_leads_to_the_end_of_the_address_space_does_no_harm),
		cmocka_unit_test(test_no_mixture_of_registers_and_memory_crashes_the_walk),
		cmocka_unit_test(test_any_code_address_has_a_rule_that_fits_or_none),
		cmocka_unit_test(test_learning_many_addresses_takes_no_more_memory),
		cmocka_unit_test(test_a_stack_that_ends_where_memory_ends_is_walked_to_its_end),
		cmocka_unit_test(test_near_the_end_of_a_small_stack_the_walk_is_cut_and_nothing_is_overrun),
		cmocka_unit_test(test_the_learner_stays_within_the_room_that_it_checks_for),
	};
	return cmocka_run_group_tests(tests, start, NULL);
}
