/* test_thread_stack.c - what is believed of a thread's stack lies in what libc has made.
 *
 * Runs in: its own process, with threads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/base/arena.c shim/base/losses.c shim/base/sync.c
 * links: shim/base/text.c shim/libc/clock.c shim/libc/modules.c shim/libc/loaded.c shim/libc/headers.c
 * links: shim/libc/real.c shim/libc/thread_stack.c shim/stack/bounds.c
 * links: shim/stack/code.c shim/stack/learn.c shim/stack/tables.c
 * links: shim/stack/eh_frame.c shim/stack/look.c
 * links: shim/stack/own_stack.c shim/stack/rules.c shim/stack/unwind.c shim/stack/step.c
 * links: shim/stack/unwind_libc.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "shim/libc/thread_stack.h"
#include "shim/stack/unwind.h"

/* The bounds that the library knows of the calling thread's stack lie in the one that libc made, and end with it. */
static void *compare_bounds(void *bytes)
{
	pthread_attr_t real;
	void *lowest;
	size_t size, guard;
	struct stack_bounds known = unwind_thread_stack((uintptr_t)__builtin_frame_address(0), *(size_t *)bytes);
	pthread_getattr_np(pthread_self(), &real);
	pthread_attr_getstack(&real, &lowest, &size);
	pthread_attr_getguardsize(&real, &guard);
	pthread_attr_destroy(&real);
	assert_in_range(known.lo, (uintptr_t)lowest, (uintptr_t)lowest + size);
	assert_in_range(known.hi, (uintptr_t)lowest + size - 4096, (uintptr_t)lowest + size);
	*(size_t *)bytes = known.hi - known.lo;
	return NULL;
}

/* Returns the size that is believed. */
static size_t bounds_with(const pthread_attr_t *attr)
{
	pthread_t t;
	size_t bytes = thread_stack_bytes(attr);
	assert_true(bytes > 0);
	assert_int_equal(pthread_create(&t, attr, compare_bounds, &bytes), 0);
	pthread_join(t, NULL);
	return bytes;
}

static void test_the_bounds_of_a_threads_stack_are_those_that_libc_gave_it(void **state)
{
	(void)state;
	pthread_attr_t before, attr;
	pthread_getattr_default_np(&before);
	pthread_attr_init(&attr);
	for (size_t size = 32 << 10; size <= 1 << 20; size *= 2) { /* the smallest are those of ulimit -s 32 */
		pthread_attr_setstacksize(&attr, size);
		assert_int_equal(pthread_setattr_default_np(&attr), 0);
		assert_in_range(bounds_with(NULL), size / 2, size);
		assert_in_range(bounds_with(&attr), size / 2, size);
	}
	assert_int_equal(pthread_setattr_default_np(&before), 0);
	pthread_attr_setguardsize(&attr, 256 << 10);
	assert_in_range(bounds_with(&attr), 512 << 10, 768 << 10);
	void *own = mmap(NULL, 64 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_attr_setstack(&attr, own, 64 << 10);
	pthread_attr_setguardsize(&attr, 0);
	assert_in_range(bounds_with(&attr), 32 << 10, 64 << 10);
	munmap(own, 64 << 10);
	pthread_attr_destroy(&attr);
	pthread_attr_destroy(&before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_bounds_of_a_threads_stack_are_those_that_libc_gave_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
