/* test_unwind.c - the walk against libgcc's, over frames of every shape, through signal handlers, at the edges of
 * memory.
 *
 * Runs in: its own process. What may crash runs in a child, so that a crash is one failed test.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/stack/unwind.c shim/stack/learn.c shim/stack/own_stack.c shim/stack/unwind_libc.c shim/libc/modules.c
 * links: shim/libc/real.c shim/base/losses.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <alloca.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/arena.h"
#include "shim/libc/modules.h"
#include "shim/stack/unwind.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"
#include "test/unit/support/shapes.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* frames and signal handling are then not the compiler's and the kernel's own */
#else
#define SANITIZED 0
#endif

enum { PAGE = 4096, MAX = 128, WORD = sizeof(uintptr_t) };

/* libc's backtrace, and not the one that is in libunwind's archive. */
static int (*libc_backtrace)(void **, int);

static struct taken {
	uintptr_t pc[MAX];
	size_t n;
	void *truth[MAX];
	int truths;
} taken;

static int start(void **state)
{
	(void)state;
	void *libc = dlopen("libc.so.6", RTLD_NOW);
	libc_backtrace = libc ? (int (*)(void **, int))dlsym(libc, "backtrace") : NULL;
	if (!libc_backtrace)
		return -1;
	void *warm[4];
	libc_backtrace(warm, 4); /* loads libgcc_s */
	modules_refresh();
	return 0;
}

/* Both look from here; the walk begins at our caller, libgcc's at us. */
static NOINLINE int take(void)
{
	static __thread struct stack_bounds stack;
	taken.truths = libc_backtrace(taken.truth, MAX);
	taken.n = unwind_walk(UNWIND_CALLER(), &stack, taken.pc, MAX);
	return ++keep;
}

static void print_both(void)
{
	for (size_t i = 0; i < taken.n || (int)i + 1 < taken.truths; i++) {
		Dl_info d = {0}, e = {0};
		dladdr(i < taken.n ? (void *)taken.pc[i] : NULL, &d);
		dladdr((int)i + 1 < taken.truths ? (char *)taken.truth[i + 1] - 1 : NULL, &e);
		print_message("#%zu  walk %#lx %s %s   libgcc %#lx %s\n", i, i < taken.n ? (long)taken.pc[i] : 0,
		              d.dli_sname ? d.dli_sname : "?", d.dli_fname ? d.dli_fname : "?",
		              (int)i + 1 < taken.truths ? (long)taken.truth[i + 1] - 1 : 0,
		              e.dli_sname ? e.dli_sname : "?");
	}
}

/* Every frame is a caller: the walk's address is one less than the return address. */
static void expect_the_same(const char *what)
{
	bool same = taken.n > 0 && (int)taken.n == taken.truths - 1;
	for (size_t i = 0; same && i < taken.n; i++)
		same = taken.pc[i] + 1 == (uintptr_t)taken.truth[i + 1];
	if (!same) {
		print_both();
		fail_msg("%s: the walk differs from libgcc's", what);
	}
}

/* --- frames of every shape --------------------------------------------------------------------- */

/* A frame that is realigned and variable: its caller's frame is found through a word in memory. */
static NOINLINE int aligned_alloca(int (*next)(void))
{
	_Alignas(64) volatile char a[64];
	volatile char *b = alloca((size_t)(keep & 63) + 1);
	a[0] = b[0] = 1;
	return next() + a[0] + b[0] + ((uintptr_t)a % 64 != 0) + keep;
}

static NOINLINE int aligned_stack_args(int (*next)(void), long b, long c, long d, long e, long f, long on_stack, ...)
{
	_Alignas(128) volatile long a[16];
	va_list list;
	va_start(list, on_stack);
	a[0] = va_arg(list, int) + on_stack + b + c + d + e + f;
	va_end(list);
	volatile char *v = alloca((size_t)(keep & 63) + 1);
	v[0] = 1;
	return next() + (int)a[0] + v[0] + keep;
}

static NOINLINE int call_stack_args(int (*next)(void))
{
	return aligned_stack_args(next, 1, 2, 3, 4, 5, 6, 7) + keep;
}

static const struct shape shapes[] = {
	{"plain", plain},
	{"array", with_array},
	{"alloca", with_alloca},
	{"aligned", aligned},
	{"registers", many_registers},
#define STEPPED_SHAPES 5
	{"libc", through_libc},
	{"aligned + alloca", aligned_alloca},
	{"stack arguments", call_stack_args},
};

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
		assert_int_equal(unwind_walk(UNWIND_CALLER(), &stack, pc, max),
		                 max < 5 ? max : unwind_walk(UNWIND_CALLER(), &stack, pc, 5));
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
		size_t n = unwind_walk(UNWIND_CALLER(), &stack, pc, MAX);
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
	taken.n = unwind_walk(UNWIND_CALLER(), &stack, taken.pc, MAX);
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

/* --- the edges of memory ----------------------------------------------------------------------- */

static void child_begin(void)
{
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
}

/* `pages` of memory with nothing readable on either side. */
static char *fenced_pages(size_t pages)
{
	char *p = mmap(NULL, (pages + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	CHECK(mprotect(p + PAGE, pages * PAGE, PROT_READ | PROT_WRITE) == 0);
	return p + PAGE;
}

static size_t walk_from(uintptr_t pc, uintptr_t sp, uintptr_t fp)
{
	struct stack_bounds stack = {0};
	uintptr_t out[MAX];
	size_t n = unwind_walk((struct unwind_frame){.pc = pc, .sp = sp, .fp = fp}, &stack, out, MAX);
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
	char *area = fenced_pages(2);
	char *code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
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
	int kinds[UNWIND_END + 1] = {0};
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
	int kinds[UNWIND_END + 1] = {0};
	enum { ROUNDS = 4000 };
	for (int i = 0; i < ROUNDS; i++) {
		struct unwind_rule r = unwind_learn(text + next_random() % size);
		assert_in_range(r.kind, UNWIND_UNKNOWN, UNWIND_END);
		kinds[r.kind]++;
		if (r.kind == UNWIND_SP)
			assert_true(r.cfa_offset >= 8 && r.fp_at >= 0);
	}
	/* libc has tables for all but a little padding */
	if (kinds[UNWIND_UNKNOWN] + kinds[UNWIND_CHAIN] > ROUNDS / 20)
		fail_msg("%d unknown, %d without a table, of %d", kinds[UNWIND_UNKNOWN], kinds[UNWIND_CHAIN], ROUNDS);
	assert_true(kinds[UNWIND_SP] > ROUNDS / 2);
}

/* What is learned costs a cache entry, and nothing else for ever. */
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
	own_frames = unwind_walk(UNWIND_CALLER(), &stack, pc, MAX);
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
	own_frames = unwind_walk(UNWIND_CALLER(), &stack, pc, MAX);
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

/* --- in signal handlers, and from outside ---------------------------------------------------------------- */

static struct {
	size_t n, known;
	uintptr_t pc[MAX];
	struct unwind_frame start, rest;
} in_handler;

/* As a handler would; then the truth, which learns. */
static NOINLINE int take_known(void)
{
	struct stack_bounds stack = {0};
	in_handler.start = UNWIND_CALLER();
	unwind_forget();
	if (in_handler.known)
		unwind_walk(in_handler.start, &stack, taken.pc, in_handler.known);
	in_handler.n =
		unwind_walk_known(in_handler.start, &(struct stack_bounds){0}, in_handler.pc, MAX, &in_handler.rest);
	taken.truths = libc_backtrace(taken.truth, MAX);
	stack = (struct stack_bounds){0};
	taken.n = unwind_walk(in_handler.start, &stack, taken.pc, MAX);
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
		assert_memory_equal(&in_handler.rest, &in_handler.start, sizeof in_handler.rest);
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
				assert_int_equal(in_handler.rest.pc, in_handler.pc[in_handler.n - 1]);
		}
	in_handler.known = MAX;
	plain(take_known);
	assert_int_equal(in_handler.n, taken.n);
	assert_int_equal(in_handler.rest.pc, 0);
}

static void test_a_handlers_walk_is_no_longer_than_was_asked_for(void **state)
{
	(void)state;
	struct stack_bounds stack = {0};
	struct unwind_frame f = UNWIND_CALLER(), rest;
	uintptr_t all[MAX], pc[MAX];
	size_t n = unwind_walk(f, &stack, all, MAX);
	for (size_t max = 1; max < n; max++) {
		memset(pc, 0, sizeof pc);
		assert_int_equal(unwind_walk_known(f, &(struct stack_bounds){0}, pc, max, &rest), max);
		assert_memory_equal(pc, all, max * WORD);
		assert_int_equal(pc[max], 0);
		assert_int_equal(rest.pc, 0);
	}
}

/* Made at run time: by the frame pointer, at once; there is nothing to learn. */
static void known_without_tables(void)
{
	char *area = fenced_pages(2);
	char *code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t sp = (uintptr_t)area + 512, *w = (uintptr_t *)sp, pc[MAX];
	struct unwind_frame rest;
	w[4] = (uintptr_t)&w[20], w[5] = (uintptr_t)code + 50;
	w[20] = 0, w[21] = (uintptr_t)code + 60;
	CHECK(unwind_walk_known((struct unwind_frame){(uintptr_t)code + 7, sp, (uintptr_t)&w[4]},
	                        &(struct stack_bounds){0}, pc, MAX, &rest) == 3);
	CHECK(pc[0] == (uintptr_t)code + 7 && pc[1] == (uintptr_t)code + 49 && pc[2] == (uintptr_t)code + 59 &&
	      rest.pc == 0);
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
		CHECK(unwind_walk_known((struct unwind_frame){(uintptr_t)code + 7, sp, bad[i]},
		                        &(struct stack_bounds){0}, pc, MAX, &rest) == 1);
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
	taken.n = unwind_walk(f, &stack, taken.pc, MAX);
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
	taken.n = unwind_walk(elsewhere.mark, &stack, taken.pc, MAX);
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
		cmocka_unit_test(test_the_walk_agrees_with_libgccs_for_every_shape_of_frame),
		cmocka_unit_test(test_the_walk_agrees_for_every_pair_of_shapes),
		cmocka_unit_test(test_a_deep_stack_is_walked_to_the_limit_and_no_further),
		cmocka_unit_test(test_after_forgetting_the_walk_is_the_same),
		cmocka_unit_test(test_threads_that_learn_and_forget_at_once_see_whole_rules),
		cmocka_unit_test(test_the_stack_of_a_thread_is_walked_to_its_end),
		cmocka_unit_test(test_a_library_loaded_later_is_walked_through),
		cmocka_unit_test(test_through_a_signal_handler_every_instruction_is_walked_right),
		cmocka_unit_test(test_a_handler_on_a_stack_of_its_own_leads_to_the_interrupted_one),
		cmocka_unit_test(test_fake_frame_pointers_in_code_without_tables_do_no_harm),
		cmocka_unit_test(test_bad_registers_in_code_with_tables_do_no_harm),
		cmocka_unit_test(test_a_frame_pointer_that_leads_to_the_end_of_the_address_space_does_no_harm),
		cmocka_unit_test(test_no_mixture_of_registers_and_memory_crashes_the_walk),
		cmocka_unit_test(test_any_code_address_has_a_rule_that_fits_or_none),
		cmocka_unit_test(test_learning_many_addresses_takes_no_more_memory),
		cmocka_unit_test(test_a_stack_that_ends_where_memory_ends_is_walked_to_its_end),
		cmocka_unit_test(test_near_the_end_of_a_small_stack_the_walk_is_cut_and_nothing_is_overrun),
		cmocka_unit_test(test_the_learner_stays_within_the_room_that_it_checks_for),
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
