/* test_peek.c - memory that is there is read, memory that is gone is said to be.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/base/peek.c shim/base/arena.c shim/base/house.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/house.h"
#include "shim/base/peek.h"

enum { PAGE = 4096 };

static char *map_pages(int count)
{
	char *p = mmap(NULL, (size_t)count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(p != MAP_FAILED);
	return p;
}

static void test_what_is_mapped_is_read_whole_or_not_at_all(void **state)
{
	(void)state;
	char *p = map_pages(3), to[2 * PAGE];
	for (int i = 0; i < 3 * PAGE; i++)
		p[i] = (char)(i * 7);
	munmap(p + 2 * PAGE, PAGE);
	assert_true(peek((uintptr_t)p + 5, to, 2 * PAGE - 5));
	assert_memory_equal(to, p + 5, 2 * PAGE - 5);
	assert_false(peek((uintptr_t)p + 5, to, 2 * PAGE - 4));
	assert_false(peek((uintptr_t)p + 2 * PAGE, to, 1));
	assert_false(peek(0, to, 1));
	assert_false(peek(UINTPTR_MAX - 7, to, 8));
	mprotect(p, PAGE, PROT_NONE);
	assert_false(peek((uintptr_t)p, to, 1));
	assert_true(peek((uintptr_t)p + PAGE, to, PAGE));
	munmap(p, 2 * PAGE);
}

static void test_a_text_may_end_with_the_last_page(void **state)
{
	(void)state;
	char *p = map_pages(2), to[PAGE];
	munmap(p + PAGE, PAGE);
	memset(p, 'x', PAGE);
	assert_false(peek_text((uintptr_t)p + PAGE - 5, to, sizeof to)); /* no end */
	p[PAGE - 1] = '\0';
	assert_true(peek_text((uintptr_t)p + PAGE - 5, to, sizeof to));
	assert_string_equal(to, "xxxx");
	assert_true(peek_text((uintptr_t)p + PAGE - 5, to, 5));
	assert_false(peek_text((uintptr_t)p + PAGE - 5, to, 4));
	assert_false(peek_text((uintptr_t)p + PAGE, to, sizeof to));
	munmap(p, PAGE);
}

static int stop; /* atomic */

static void *map_and_unmap(void *at)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		mmap(at, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		munmap(at, PAGE);
	}
	return NULL;
}

static void test_what_vanishes_while_it_is_read_is_no_fault(void **state)
{
	(void)state;
	pthread_t t;
	char *p = map_pages(1), to[64];
	int there = 0, gone = 0;
	pthread_create(&t, NULL, map_and_unmap, p);
	for (int i = 0; i < 20000000 && !(there > 100 && gone > 100); i++)
		*(peek((uintptr_t)p, to, sizeof to) ? &there : &gone) += 1;
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	assert_true(there > 100 && gone > 100);
}

/* As containers' filters may: the call is refused. What else is not allowed here is to open a file. */
static bool refuse_call(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EMFILE),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog filter = {sizeof f / sizeof *f, f};
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

enum { OPENS_NO_FILE, OPENS_A_FILE, READS_WRONG, CANT_TELL };

/* In a child, which the filter is for. p: three pages, of which the last can't be read. */
static int read_where_the_call_is_refused(const char *p)
{
	char to[2 * PAGE];
	if (!refuse_call())
		return CANT_TELL;
	bool is_read = peek((uintptr_t)p + 5, to, 2 * PAGE - 5);
	if (is_read && memcmp(to, p + 5, 2 * PAGE - 5) != 0)
		return READS_WRONG;
	if (peek((uintptr_t)p + 5, to, 2 * PAGE - 4) || peek((uintptr_t)p + 2 * PAGE, to, 1) || peek(8, to, 1))
		return READS_WRONG;
	return is_read ? OPENS_NO_FILE : OPENS_A_FILE;
}

static int outcome(const char *p, bool of_program)
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		if (of_program)
			house_start(NULL);
		_exit(read_where_the_call_is_refused(p));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* A child that does not take itself for the program is what the listener is. */
static void test_where_the_call_is_refused_the_listener_alone_opens_a_file(void **state)
{
	(void)state;
	house_start(NULL);
	char *p = map_pages(3);
	for (int i = 0; i < 3 * PAGE; i++)
		p[i] = (char)(i * 7);
	mprotect(p + 2 * PAGE, PAGE, PROT_NONE); /* as if it were gone; what house_start maps may lie in a gap */
	int of_program = outcome(p, true), of_listener = outcome(p, false);
	munmap(p, 3 * PAGE);
	if (of_program == CANT_TELL)
		skip(); /* no filters on this machine */
	assert_int_equal(of_program, OPENS_NO_FILE);
	assert_int_equal(of_listener, OPENS_A_FILE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_mapped_is_read_whole_or_not_at_all),
		cmocka_unit_test(test_a_text_may_end_with_the_last_page),
		cmocka_unit_test(test_what_vanishes_while_it_is_read_is_no_fault),
		cmocka_unit_test(test_where_the_call_is_refused_the_listener_alone_opens_a_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
