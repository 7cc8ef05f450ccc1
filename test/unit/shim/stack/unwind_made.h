/* unwind_made.h - a stack taken by the walk and by libgcc.
 *
 * Runs in: unit tests.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_UNWIND_MADE_H
#define PPROFSHIM_UNWIND_MADE_H

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
static NOINLINE __attribute__((unused)) int take(void)
{
	static __thread struct stack_bounds stack;
	taken.truths = libc_backtrace(taken.truth, MAX);
	taken.n = unwind_walk(UNWIND_CALLER(), &stack, taken.pc, MAX, &(enum stack_cut){0});
	return ++keep;
}

static inline void print_both(void)
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
static inline void expect_the_same(const char *what)
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

/* --- the edges of memory ----------------------------------------------------------------------- */

static inline void child_begin(void)
{
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
}

/* Made code: what returns to 50, 60 or 100 was called there, by "call *%rax". */
static inline char *made_code(void)
{
	char *code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(code != MAP_FAILED);
	memset(code, 0x90, PAGE);
	memcpy(code + 48, "\xff\xd0", 2);
	memcpy(code + 58, "\xff\xd0", 2);
	memcpy(code + 98, "\xff\xd0", 2);
	return code;
}

/* `pages` of memory with nothing readable on either side. */
static inline char *fenced_pages(size_t pages)
{
	/* Nothing is mapped for 2 MiB above, where a made-up frame pointer may lead. */
	char *p = mmap(NULL, (pages + 2) * PAGE + (2 << 20), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	CHECK(mprotect(p + PAGE, pages * PAGE, PROT_READ | PROT_WRITE) == 0);
	return p + PAGE;
}

#endif
