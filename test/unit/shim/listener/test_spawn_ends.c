/* test_spawn_ends.c - how a helper program ends, and how one writes to it.
 *
 * Runs in: its own process, with threads and children. The helper is this program itself, started with the name of a
 * part.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/listener/spawn.c shim/listener/keeper.c shim/listener/filters.c shim/base/text.c */
#include "test/unit/shim/listener/spawn_made.h"

#include <sched.h>
#include <sys/socket.h>

/* --- how it ends ----------------------------------------------------------------------------------- */

static void test_its_status_is_told(void **state)
{
	static const int rows[] = {0, 1, 3, 127, 255};
	struct spawned s;
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char number[8];
		snprintf(number, sizeof number, "%d", rows[i]);
		assert_int_equal(START(&s, ANY_MEMORY, SELF, "status", number), 0);
		read_all(&s);
		int status = end_it(&s);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), rows[i]);
		assert_nothing(&s);
		assert_int_equal(end_it(&s), -1);
	}
	assert_int_equal(START(&s, ANY_MEMORY, SELF, "signal"), 0);
	read_all(&s);
	assert_int_equal(end_it(&s), SIGKILL);
	assert_no_child();
}

/* The listener has others to serve. */
static void test_its_end_is_not_waited_for(void **state)
{
	int status = 0;
	struct spawned s;
	(void)state;
	assert_int_equal(START(&s, ANY_MEMORY, SELF, "silent"), 0);
	assert_int_equal(kill(s.pid, SIGSTOP), 0);
	spawn_stop(&s);
	for (uint64_t until = now_ms() + 200; now_ms() < until; usleep(500))
		assert_false(spawn_has_ended(&s, &status)); /* it can't end before what follows */
	assert_int_equal(kill(s.pid, SIGCONT), 0);
	while (!spawn_has_ended(&s, &status))
		usleep(500);
	assert_int_equal(status, SIGKILL);
	assert_no_child();
}

static struct spawned left;

static int listen_and_end(void *unused)
{
	(void)unused;
	bool good = START(&left, ANY_MEMORY, SELF, "silent") == 0 && kill(left.pid, SIGSTOP) == 0;
	syscall(SYS_exit, good ? 0 : 1);
	return 0;
}

/* The next listener may not use the stack of a keeper that is none of its children and has not ended yet. */
static void begin_beside_a_leftover(void)
{
	static char stack[64 * 1024] __attribute__((aligned(16)));
	struct spawned s;
	int status;
	block_signals();
	pid_t listener = clone(listen_and_end, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
	CHECK(listener > 0 && waitpid(listener, &status, 0) == listener && status == 0);
	CHECK(spawn_has_leftovers());
	CHECK(START(&s, ANY_MEMORY, SELF, "count") == -EBUSY);
	CHECK(kill(left.pid, SIGCONT) == 0); /* SIGTERM came when its parent ended */
	for (uint64_t until = now_ms() + WAIT_MS; spawn_has_leftovers(); usleep(500))
		CHECK(now_ms() < until);
	CHECK(START(&s, ANY_MEMORY, SELF, "status", "3") == 0);
	read_all(&s);
	CHECK(WEXITSTATUS(end_it(&s)) == 3);
}

static void test_the_helper_of_an_ended_listener_is_waited_for(void **state)
{
	(void)state;
	assert_int_equal(child_status(child_begin, begin_beside_a_leftover), 0);
}

static const struct {
	const char *name, *content;
	mode_t mode;
	int error;
} bad_programs[] = {
	{"gone", NULL, 0, -ENOENT},
	{"closed", "#!/bin/sh\n", 0644, -EACCES},
	{"empty", "", 0755, -ENOEXEC},
	{"odd", "this is no program\n", 0755, -ENOEXEC},
	{"elf", "\177ELF nothing", 0755, -ENOEXEC},
	{"without", "#!/nowhere/at/all\n", 0755, -ENOENT},
	{"closed/sub", NULL, 0, -ENOTDIR},
	{".", NULL, 0, -EACCES},
};

static void try_bad_programs(const char *dir)
{
	for (size_t i = 0; i < COUNT(bad_programs); i++) {
		char path[PATH_MAX];
		struct spawned s = {.pid = 1, .to_fd = 2, .from_fd = 3};
		snprintf(path, sizeof path, "%s/%s", dir, bad_programs[i].name);
		if (bad_programs[i].content) {
			FILE *f = fopen(path, "w");
			assert_non_null(f);
			fputs(bad_programs[i].content, f);
			fclose(f);
			assert_int_equal(chmod(path, bad_programs[i].mode), 0);
		}
		int before = count_descriptors();
		int r = START(&s, ANY_MEMORY, path);
		if (r != bad_programs[i].error)
			fail_msg("%s: %d", bad_programs[i].name, r);
		assert_nothing(&s);
		assert_no_child();
		assert_int_equal(count_descriptors(), before);
	}
	for (size_t i = 0; i < COUNT(bad_programs); i++) {
		char path[PATH_MAX];
		snprintf(path, sizeof path, "%s/%s", dir, bad_programs[i].name);
		if (bad_programs[i].content)
			unlink(path);
	}
}

static void test_what_cannot_be_started_says_why_and_leaves_nothing(void **state)
{
	(void)state;
	char dir[] = "/tmp/test_spawn.XXXXXX";
	assert_non_null(mkdtemp(dir));
	try_bad_programs(dir);
	rmdir(dir);
}

static void test_hundreds_leave_no_descriptor_and_no_zombie(void **state)
{
	(void)state;
	int before = count_descriptors();
	for (int i = 0; i < 300; i++) {
		struct spawned s;
		if (i % 3 == 0) {
			assert_int_equal(START(&s, ANY_MEMORY, "/bin/sh", "-c", "read x; echo hello"), 0);
			assert_int_equal(write_to(&s, "x\n", 2, WAIT_MS), 0);
			spawn_close_input(&s);
			assert_string_equal(read_all(&s), "hello\n");
			assert_int_equal(end_it(&s), 0);
		} else if (i % 3 == 1) {
			assert_int_equal(START(&s, ANY_MEMORY, "/bin/sleep", "1000"), 0);
			assert_int_equal(end_it(&s), SIGKILL);
		} else {
			assert_int_equal(START(&s, ANY_MEMORY, "/nowhere"), -ENOENT);
		}
	}
	assert_int_equal(count_descriptors(), before);
	assert_no_child();
}

static void lack_descriptors(void)
{
	int before = count_descriptors() - 3; /* ".", "..", and the folder's own */
	for (rlim_t n = 0; n < 40; n++) {
		struct rlimit old, few = {n, 0};
		struct spawned s = {.pid = 1, .to_fd = 2, .from_fd = 3};
		CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
		few.rlim_max = old.rlim_max;
		CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
		int r = START(&s, ANY_MEMORY, "/bin/sleep", "1000");
		CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
		CHECK(r <= 0 && (r == 0) == (s.pid > 0));
		CHECK(r == 0 || (n < 20 && s.to_fd == -1 && s.from_fd == -1));
		end_it(&s);
		CHECK(count_descriptors() - 3 == before);
	}
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
}

static void test_without_descriptors_it_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(child_status(child_begin, lack_descriptors), 0);
}

static void *start_and_leave(void *arg)
{
	struct spawned *s = arg;
	block_signals();
	spawn_start();
	return START(s, ANY_MEMORY, SELF, "silent") == 0 ? arg : NULL;
}

static void test_it_ends_with_the_thread_that_started_it(void **state)
{
	(void)state;
	struct spawned s;
	pthread_t thread;
	void *result;
	assert_int_equal(pthread_create(&thread, NULL, start_and_leave, &s), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_non_null(result);
	struct pollfd p = {s.from_fd, POLLIN, 0};
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_true(p.revents & POLLHUP); /* nobody holds the other end any more */
	end_it(&s);
	uint64_t until = now_ms() + WAIT_MS;
	while (waitpid(-1, NULL, WNOHANG | __WALL) >= 0 && now_ms() < until)
		usleep(1000);
	assert_no_child();
}

/* And with the process. */
static void leave_it(void)
{
	struct spawned s;
	CHECK(START(&s, ANY_MEMORY, "/bin/sh", "-c", "echo $$; exec sleep 1000") == 0);
	struct pollfd p = {s.from_fd, POLLIN, 0};
	char text[32] = "";
	CHECK(poll(&p, 1, WAIT_MS) == 1 && read(s.from_fd, text, sizeof text - 1) > 0);
	CHECK(write(STDOUT_FILENO, text, strlen(text)) > 0);
}

static void test_it_ends_with_the_process(void **state)
{
	(void)state;
	int out[2], saved = dup(STDOUT_FILENO);
	char text[32] = "";
	assert_int_equal(pipe(out), 0);
	fflush(stdout);
	dup2(out[1], STDOUT_FILENO);
	int status = child_status(child_begin, leave_it);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	close(out[1]);
	assert_int_equal(status, 0);
	assert_true(read(out[0], text, sizeof text - 1) > 0);
	close(out[0]);
	pid_t pid = atoi(text);
	assert_true(pid > 1);
	char path[64], line[512] = "";
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	for (uint64_t until = now_ms() + WAIT_MS; now_ms() < until; usleep(10 * 1000)) {
		int fd = open(path, O_RDONLY);
		ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
		if (fd >= 0)
			close(fd);
		if (n <= 0 || strstr(line, ") Z ") || !strstr(line, "(sleep)"))
			return;
	}
	fail_msg("%d lives on", pid);
}

/* --- writing to it --------------------------------------------------------------------------------- */

static unsigned char *pattern(size_t n)
{
	unsigned char *p = malloc(n);
	for (size_t i = 0; i < n; i++)
		p[i] = (unsigned char)(i % 251);
	return p;
}

static void test_all_is_written_to_one_that_reads_slowly(void **state)
{
	static char *const parts[] = {"count", "slow"};
	enum { BYTES = 5 * MIB + 17 };
	(void)state;
	unsigned char *bytes = pattern(BYTES);
	for (size_t i = 0; i < COUNT(parts); i++) {
		struct spawned s;
		char expected[64];
		assert_int_equal(START(&s, ANY_MEMORY, SELF, parts[i]), 0);
		assert_int_equal(write_to(&s, bytes, 0, 0), 0);
		assert_int_equal(write_to(&s, bytes, 1000, WAIT_MS), 0);
		assert_int_equal(write_to(&s, bytes + 1000, BYTES - 1000, WAIT_MS), 0);
		spawn_close_input(&s);
		snprintf(expected, sizeof expected, "%d 0", (int)BYTES);
		assert_string_equal(read_all(&s), expected);
		assert_int_equal(end_it(&s), 0);
	}
	free(bytes);
}

static void test_one_that_does_not_read_is_waited_for_no_longer_than_said(void **state)
{
	enum { BYTES = 8 * MIB };
	(void)state;
	struct spawned s;
	unsigned char *bytes = pattern(BYTES);
	assert_int_equal(START(&s, ANY_MEMORY, SELF, "silent"), 0);
	uint64_t before = now_ms();
	assert_int_equal(write_to(&s, bytes, BYTES, 150), -ETIMEDOUT);
	assert_in_range(now_ms() - before, 148, WAIT_MS);
	before = now_ms();
	assert_int_equal(write_to(&s, bytes, BYTES, 0), -ETIMEDOUT);
	assert_in_range(now_ms() - before, 0, WAIT_MS);
	assert_int_equal(end_it(&s), SIGKILL);
	free(bytes);
}

/* SIGPIPE is blocked in the listener's thread: what a write leaves there is taken away, what the program itself was
 * sent is not. */
static void write_to_the_deaf(void)
{
	static char bytes[2 * MIB];
	struct spawned s;
	sigset_t pending;
	block_signals();
	for (int own = 0; own < 2; own++) {
		if (own)
			CHECK(kill(getpid(), SIGPIPE) == 0);
		CHECK(START(&s, ANY_MEMORY, SELF, "deaf") == 0);
		struct pollfd p = {s.from_fd, POLLIN, 0};
		CHECK(poll(&p, 1, WAIT_MS) == 1);
		for (int i = 0; i < 3; i++)
			CHECK(write_to(&s, bytes, i ? sizeof bytes : 1, WAIT_MS) == -EPIPE);
		CHECK(end_it(&s) == SIGKILL);
		CHECK(START(&s, ANY_MEMORY, SELF, "status", "0") == 0);
		read_all(&s);
		CHECK(write_to(&s, bytes, sizeof bytes, WAIT_MS) == -EPIPE);
		CHECK(end_it(&s) == 0);
		CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == own);
	}
}

static void test_one_that_reads_no_more_is_an_error_and_no_signal(void **state)
{
	(void)state;
	assert_int_equal(child_status(child_begin, write_to_the_deaf), 0);
}

/* --- on a socket ----------------------------------------------------------------------------------- */

static void start_on_socket(struct spawned *s, int *ours, unsigned life_s, char *part)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(spawn_on_socket(s, (char *const[]){SELF, part, NULL}, ANY_MEMORY, pair[1], life_s), 0);
	close(pair[1]);
	*ours = pair[0];
}

static int status_in_the_end(struct spawned *s)
{
	int status;
	while (!spawn_has_ended(s, &status))
		usleep(500);
	assert_nothing(s);
	return status;
}

static void test_one_on_a_socket_reads_it_and_answers_there(void **state)
{
	struct spawned s;
	char answer[16] = "";
	int fd;
	(void)state;
	start_on_socket(&s, &fd, 1000, "count");
	assert_int_equal(write(fd, "\0\1\2", 3), 3);
	shutdown(fd, SHUT_WR);
	assert_int_equal(read(fd, answer, sizeof answer - 1), 3);
	assert_string_equal(answer, "3 0");
	close(fd);
	assert_int_equal(status_in_the_end(&s), 0);
	assert_no_child();
}

static void test_one_on_a_socket_is_ended_when_its_life_is_over(void **state)
{
	struct spawned s;
	int fd;
	(void)state;
	start_on_socket(&s, &fd, 1, "silent");
	uint64_t began_ms = now_ms();
	assert_int_equal(status_in_the_end(&s), SIGKILL);
	assert_true(now_ms() - began_ms >= 900);
	close(fd);
	assert_no_child();
}

int main(int argc, char **argv)
{
	if (argc > 1)
		play(argc, argv);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_its_status_is_told),
		cmocka_unit_test(test_its_end_is_not_waited_for),
		cmocka_unit_test(test_the_helper_of_an_ended_listener_is_waited_for),
		cmocka_unit_test(test_what_cannot_be_started_says_why_and_leaves_nothing),
		cmocka_unit_test(test_hundreds_leave_no_descriptor_and_no_zombie),
		cmocka_unit_test(test_without_descriptors_it_is_an_error),
		cmocka_unit_test(test_it_ends_with_the_thread_that_started_it),
		cmocka_unit_test(test_it_ends_with_the_process),
		cmocka_unit_test(test_all_is_written_to_one_that_reads_slowly),
		cmocka_unit_test(test_one_that_does_not_read_is_waited_for_no_longer_than_said),
		cmocka_unit_test(test_one_that_reads_no_more_is_an_error_and_no_signal),
		cmocka_unit_test(test_one_on_a_socket_reads_it_and_answers_there),
		cmocka_unit_test(test_one_on_a_socket_is_ended_when_its_life_is_over),
	};
	return run_all(tests, COUNT(tests));
}
