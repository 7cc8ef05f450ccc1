/* test_spawn.c - what the helper program is given, and that nobody notices it.
 *
 * Runs in: its own process, with threads and children. The helper is this program itself, started with the name of a
 * part.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/listener/spawn.c shim/listener/keeper.c shim/listener/filters.c shim/base/text.c */
#include "test/unit/shim/listener/spawn_made.h"

/* --- starting and reading it ----------------------------------------------------------------------- */

static const char *say(const char *part)
{
	static char said[8192];
	struct spawned s;
	int r = START(&s, ANY_MEMORY, SELF, (char *)part);
	if (r < 0) {
		snprintf(said, sizeof said, "error %d", r);
		return said;
	}
	snprintf(said, sizeof said, "%s", read_all(&s));
	end_it(&s);
	return said;
}

/* --- what it is given ------------------------------------------------------------------------------ */

static void see_world(void)
{
	struct spawned s;
	block_signals();
	CHECK(fcntl(open("/dev/null", O_RDONLY), F_DUPFD, 100) >= 0); /* neither is to be closed by an exec */
	CHECK(START(&s, ANY_MEMORY, SELF, "world", "two words") == 0);
	CHECK(s.pid > 0);
	const char *said = read_all(&s);
	if (strcmp(said, "pipes 1 ends 1 waits 1 others 0\ncore 1 1 cpu 1\nblocked 29 death 9\n"
	                 "environment 0 group 1 arguments 3 two words\n") != 0) {
		fprintf(stderr, "%s", said);
		_exit(1);
	}
	CHECK(end_it(&s) == 0);
}

static void test_it_has_two_pipes_and_nothing_of_the_program(void **state)
{
	(void)state;
	assert_int_equal(child_status(child_begin, see_world), 0);
}

static void close_standard(void)
{
	for (int fd = 0; fd < 2; fd++)
		close(fd);
	see_world();
}

static void test_it_has_them_when_the_program_has_closed_its_own(void **state)
{
	(void)state;
	assert_int_equal(child_status(child_begin, close_standard), 0);
}

static void test_our_ends_are_closed_by_an_exec_and_do_not_block(void **state)
{
	struct spawned s;
	char byte;
	(void)state;
	assert_int_equal(START(&s, ANY_MEMORY, SELF, "count"), 0);
	assert_true(fcntl(s.to_fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(s.from_fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(s.from_fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(read(s.from_fd, &byte, 1), -1);
	assert_int_equal(errno, EAGAIN);
	spawn_close_input(&s);
	spawn_close_input(&s);
	assert_int_equal(s.to_fd, -1);
	assert_string_equal(read_all(&s), "0 0");
	assert_int_equal(end_it(&s), 0);
	assert_nothing(&s);
}

static void test_there_is_one_at_a_time(void **state)
{
	struct spawned first, second = {.pid = 1, .to_fd = 2, .from_fd = 3};
	(void)state;
	assert_false(spawn_is_running());
	assert_int_equal(START(&first, ANY_MEMORY, SELF, "count"), 0);
	assert_true(spawn_is_running());
	int before = count_descriptors();
	assert_int_equal(START(&second, ANY_MEMORY, SELF, "count"), -EBUSY);
	assert_nothing(&second);
	assert_int_equal(end_it(&second), -1);
	assert_int_equal(count_descriptors(), before);
	spawn_close_input(&first); /* it is none the worse */
	assert_string_equal(read_all(&first), "0 0");
	assert_int_equal(end_it(&first), 0);
	/* nor does one that was killed by spawn_kill stand in the way */
	assert_int_equal(START(&first, ANY_MEMORY, SELF, "silent"), 0);
	spawn_kill();
	assert_string_equal(read_all(&first), "");
	assert_int_equal(START(&second, ANY_MEMORY, SELF, "count"), 0);
	assert_int_equal(end_it(&first), -1); /* which is not the second */
	spawn_close_input(&second);
	assert_string_equal(read_all(&second), "0 0");
	assert_int_equal(end_it(&second), 0);
	assert_false(spawn_is_running());
	spawn_kill(); /* there is none */
	assert_no_child();
}

static const char *sh(uint64_t memory, const char *script)
{
	static char said[8192];
	struct spawned s;
	if (START(&s, memory, "/bin/sh", "-c", (char *)script) < 0)
		return "";
	snprintf(said, sizeof said, "%s", read_all(&s));
	end_it(&s);
	return said;
}

static void test_its_memory_is_limited(void **state)
{
	(void)state;
	assert_string_equal(sh(64 * MIB, "ulimit -Sd; ulimit -Hd; ulimit -c"), "65536\n65536\n0\n");
}

/* A limit that holds already is not raised, as only root could. */
static void keep_lower_limits(void)
{
	struct rlimit data = {32 * MIB, 32 * MIB}, cpu = {5, 7};
	char said[64];
	CHECK(setrlimit(RLIMIT_DATA, &data) == 0 && setrlimit(RLIMIT_CPU, &cpu) == 0);
	snprintf(said, sizeof said, "%s", sh(64 * MIB, "ulimit -Sd; ulimit -Hd; ulimit -St; ulimit -Ht"));
	CHECK(strcmp(said, "32768\n32768\n5\n7\n") == 0);
}

static void test_limits_of_the_program_hold_for_it(void **state)
{
	(void)state;
	assert_int_equal(child_status(child_begin, keep_lower_limits), 0);
}

static void be_nicer(void)
{
	int now = getpriority(PRIO_PROCESS, 0);
	for (int i = 0; i < 4; i++, now = getpriority(PRIO_PROCESS, 0)) {
		const char *said = say("nice");
		int then = atoi(said);
		bool nicer = then <= 19 && (then >= now + 5 || then == 19);
		if (!nicer)
			fprintf(stderr, "of %d it is \"%s\"\n", now, said);
		CHECK(nicer);
		CHECK(getpriority(PRIO_PROCESS, 0) == now);
		CHECK(nice(5) != -1);
	}
}

static void test_it_is_nicer_than_the_program(void **state)
{
	(void)state;
	assert_int_equal(child_status(child_begin, be_nicer), 0);
}

/* --- nobody notices -------------------------------------------------------------------------------- */

static volatile sig_atomic_t children_told;
static volatile int forks_told;

static void tell_child(int signal)
{
	(void)signal;
	children_told++;
}

static void tell_fork(void)
{
	forks_told++;
}

static void expect_no_child(void)
{
	siginfo_t info = {0};
	CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
	CHECK(wait(NULL) == -1 && errno == ECHILD);
	CHECK(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == -1 && errno == ECHILD);
	CHECK(children_told == 0);
}

static void run_unseen(void)
{
	struct sigaction old;
	struct spawned s;
	CHECK(START(&s, ANY_MEMORY, SELF, "count") == 0);
	expect_no_child(); /* it lives */
	spawn_close_input(&s);
	CHECK(strcmp(read_all(&s), "0 0") == 0);
	usleep(50 * 1000);
	expect_no_child(); /* it has ended */
	CHECK(end_it(&s) == 0);
	expect_no_child();
	CHECK(START(&s, ANY_MEMORY, SELF, "silent") == 0);
	CHECK(end_it(&s) == SIGKILL);
	expect_no_child();
	CHECK(START(&s, ANY_MEMORY, "/nowhere") == -ENOENT);
	expect_no_child();
	CHECK(sigaction(SIGCHLD, NULL, &old) == 0 && old.sa_handler == tell_child);
	CHECK(forks_told == 0);
}

static void *run_as_listener(void *arg)
{
	(void)arg;
	block_signals();
	run_unseen();
	return NULL;
}

/* This thread would be told. */
static void go_unseen(void)
{
	pthread_t thread;
	sigset_t none;
	sigemptyset(&none);
	CHECK(pthread_atfork(tell_fork, tell_fork, tell_fork) == 0);
	CHECK(signal(SIGCHLD, tell_child) != SIG_ERR);
	CHECK(pthread_create(&thread, NULL, run_as_listener, NULL) == 0);
	CHECK(pthread_sigmask(SIG_SETMASK, &none, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	usleep(20 * 1000);
	CHECK(children_told == 0);
}

static void test_no_wait_no_signal_and_no_fork_handler_sees_it(void **state)
{
	(void)state;
	assert_int_equal(child_status(child_begin, go_unseen), 0);
}

static void end_ignored(void)
{
	struct spawned s;
	CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
	CHECK(START(&s, ANY_MEMORY, SELF, "status", "7") == 0);
	read_all(&s);
	usleep(50 * 1000);
	CHECK(WEXITSTATUS(end_it(&s)) == 7);
}

static void test_its_status_is_known_though_the_program_ignores_children(void **state)
{
	(void)state;
	assert_int_equal(child_status(child_begin, end_ignored), 0);
}

/* A program's own children are waited for as ever. */
static void wait_for_own(void)
{
	struct spawned s;
	int status;
	CHECK(START(&s, ANY_MEMORY, SELF, "status", "9") == 0);
	pid_t own = fork();
	if (own == 0) {
		usleep(100 * 1000);
		_exit(5);
	}
	CHECK(waitpid(-1, &status, 0) == own && WEXITSTATUS(status) == 5);
	read_all(&s);
	CHECK(WEXITSTATUS(end_it(&s)) == 9);
}

static void test_a_wait_for_any_child_waits_for_the_programs_own(void **state)
{
	(void)state;
	assert_int_equal(child_status(child_begin, wait_for_own), 0);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		play(argc, argv);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_has_two_pipes_and_nothing_of_the_program),
		cmocka_unit_test(test_it_has_them_when_the_program_has_closed_its_own),
		cmocka_unit_test(test_our_ends_are_closed_by_an_exec_and_do_not_block),
		cmocka_unit_test(test_there_is_one_at_a_time),
		cmocka_unit_test(test_its_memory_is_limited),
		cmocka_unit_test(test_limits_of_the_program_hold_for_it),
		cmocka_unit_test(test_it_is_nicer_than_the_program),
		cmocka_unit_test(test_no_wait_no_signal_and_no_fork_handler_sees_it),
		cmocka_unit_test(test_its_status_is_known_though_the_program_ignores_children),
		cmocka_unit_test(test_a_wait_for_any_child_waits_for_the_programs_own),
	};
	return run_all(tests, COUNT(tests));
}
