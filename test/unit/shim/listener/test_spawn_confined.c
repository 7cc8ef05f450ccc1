/* test_spawn_confined.c - a helper program of a program that confines itself, beside its threads.
 *
 * Runs in: its own process, with threads and children. The helper is this program itself, started with the name of a
 * part.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/listener/spawn.c shim/listener/keeper.c shim/listener/filters.c shim/base/text.c */
#include "test/unit/shim/listener/spawn_made.h"

/* --- a program that confines itself ---------------------------------------------------------------- */

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define KILL_AT(call) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (call), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

static struct sock_filter no_processes[] = {
	LOAD(nr),
	KILL_AT(SYS_clone),
	KILL_AT(SYS_clone3),
#ifdef SYS_fork
	KILL_AT(SYS_fork),
	KILL_AT(SYS_vfork),
#endif
	KILL_AT(SYS_execve),
	KILL_AT(SYS_execveat),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};
static struct sock_filter all_allowed[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};

static void confine(struct sock_filter *filter, size_t count)
{
	struct sock_fprog program = {.len = (unsigned short)count, .filter = filter};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(77);
}

static void expect_forbidden(void)
{
	struct spawned s = {.pid = 1, .to_fd = 2, .from_fd = 3};
	int before = count_descriptors();
	CHECK(START(&s, ANY_MEMORY, "/bin/sleep", "1000") == -EPERM);
	CHECK(s.pid == 0 && s.to_fd == -1 && s.from_fd == -1);
	CHECK(count_descriptors() == before);
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
}

static void expect_allowed(void)
{
	struct spawned s;
	CHECK(START(&s, ANY_MEMORY, "/bin/sleep", "1000") == 0);
	CHECK(end_it(&s) == SIGKILL);
}

static void confine_later(void)
{
	spawn_start();
	expect_allowed();
	confine(no_processes, COUNT(no_processes));
	expect_forbidden();
}

static void confine_before(void)
{
	confine(all_allowed, COUNT(all_allowed));
	spawn_start();
	expect_allowed();
	confine(all_allowed, COUNT(all_allowed)); /* one more */
	expect_forbidden();
}

/* A fork child is confined as its parent is. */
static void fork_below_a_filter(void)
{
	confine(all_allowed, COUNT(all_allowed));
	spawn_start();
	pid_t child = fork();
	if (child == 0) {
		spawn_fork_child();
		expect_allowed();
		_exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void expect_confined(void (*body)(void))
{
	int status = child_status(child_begin, body);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

static void test_a_program_that_confines_itself_is_left_alone(void **state)
{
	(void)state;
	expect_confined(confine_later);
}

static void test_a_filter_from_before_the_start_is_no_reason(void **state)
{
	(void)state;
	expect_confined(confine_before);
}

static void test_a_fork_child_is_confined_as_its_parent_was(void **state)
{
	(void)state;
	expect_confined(fork_below_a_filter);
}

/* The line of groups comes before those of the filters, and may be long. */
static void confine_one_of_many_groups(void)
{
	static gid_t groups[5000];
	for (size_t i = 0; i < COUNT(groups); i++)
		groups[i] = 1000000000u + (gid_t)i;
	if (setgroups(COUNT(groups), groups) < 0)
		_exit(77);
	confine_later();
}

static void test_many_groups_hide_no_filter(void **state)
{
	(void)state;
	expect_confined(confine_one_of_many_groups);
}

/* --- beside the program's threads ------------------------------------------------------------------ */

enum { THREADS = 3 };
static uint32_t stop;
static uint64_t rounds_of[THREADS];

static void *work(void *arg)
{
	uint64_t *rounds = arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		size_t n = 1 + *rounds % 5000;
		unsigned char *p = malloc(n);
		memset(p, (int)(*rounds & 0xff), n);
		int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, p, n) != (ssize_t)n || p[n - 1] != (*rounds & 0xff))
			abort();
		close(fd);
		free(p);
		__atomic_fetch_add(rounds, 1, __ATOMIC_RELAXED);
		if (*rounds % 16 == 0)
			sched_yield();
	}
	return NULL;
}

static void test_the_programs_threads_go_on(void **state)
{
	(void)state;
	pthread_t threads[THREADS];
	stop = 0;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, &rounds_of[i]), 0);
	uint64_t until = now_ms() + WAIT_MS;
	for (int i = 0; i < 100 || now_ms() < until; i++) {
		uint64_t least = UINT64_MAX;
		struct spawned s;
		assert_int_equal(START(&s, ANY_MEMORY, "/bin/sh", "-c", "cat"), 0);
		assert_int_equal(write_to(&s, "echo", 4, WAIT_MS), 0);
		spawn_close_input(&s);
		assert_string_equal(read_all(&s), "echo");
		int status = end_it(&s); /* a busy machine may give it no time to end by itself */
		assert_true(status == 0 || status == SIGKILL);
		for (int k = 0; k < THREADS; k++) {
			uint64_t rounds = __atomic_load_n(&rounds_of[k], __ATOMIC_RELAXED);
			least = rounds < least ? rounds : least;
		}
		if (i >= 99 && least >= 100)
			break;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_in_range(rounds_of[i], 100, UINT64_MAX);
	}
}

int main(int argc, char **argv)
{
	if (argc > 1)
		play(argc, argv);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_program_that_confines_itself_is_left_alone),
		cmocka_unit_test(test_a_filter_from_before_the_start_is_no_reason),
		cmocka_unit_test(test_a_fork_child_is_confined_as_its_parent_was),
		cmocka_unit_test(test_many_groups_hide_no_filter),
		cmocka_unit_test(test_the_programs_threads_go_on),
	};
	return run_all(tests, COUNT(tests));
}
