/* test_spawn.c - the helper process: what it is given, that nobody notices it, and that nothing of it stays.
 *
 * Runs in: its own process, with threads and children. The helper is this program itself, started with the name of a
 * part.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/listener/spawn.c shim/base/text.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/listener/spawn.h"
#include "test/unit/at_home.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

#define SELF "/proc/self/exe"
#define ANY_MEMORY UINT64_MAX /* a sanitizer's shadow counts as data */

enum { MIB = 1 << 20, WAIT_MS = 30 * 1000 };

extern char **environ;

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- the helper's parts ---------------------------------------------------------------------------- */

static void tell_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int others = 0;
	for (struct dirent *e; dir && (e = readdir(dir));)
		others += e->d_name[0] != '.' && atoi(e->d_name) > 1 && atoi(e->d_name) != dirfd(dir);
	struct stat in, out;
	bool pipes = fstat(0, &in) == 0 && S_ISFIFO(in.st_mode) && fstat(1, &out) == 0 && S_ISFIFO(out.st_mode);
	bool ends = (fcntl(0, F_GETFL) & O_ACCMODE) == O_RDONLY && (fcntl(1, F_GETFL) & O_ACCMODE) == O_WRONLY;
	bool waits = !((fcntl(0, F_GETFL) | fcntl(1, F_GETFL)) & O_NONBLOCK);
	dprintf(1, "pipes %d ends %d waits %d others %d\n", pipes, ends, waits, dir ? others : -1);
}

static void tell_limits(void)
{
	struct rlimit core, cpu;
	getrlimit(RLIMIT_CORE, &core);
	getrlimit(RLIMIT_CPU, &cpu);
	dprintf(1, "core %d %ld cpu %d\n", core.rlim_cur <= 1, (long)core.rlim_max,
	        cpu.rlim_cur <= 300 && cpu.rlim_max <= 300);
}

static void tell_signals(void)
{
	sigset_t mask;
	int blocked = 0, dies_with_parent = 0;
	sigprocmask(SIG_BLOCK, NULL, &mask);
	for (int s = 1; s < 32; s++)
		blocked += s != SIGKILL && s != SIGSTOP && sigismember(&mask, s) == 1;
	prctl(PR_GET_PDEATHSIG, &dies_with_parent);
	dprintf(1, "blocked %d death %d\n", blocked, dies_with_parent);
}

static void copy_count(void)
{
	static char buf[65536];
	unsigned long long total = 0, wrong = 0;
	for (ssize_t n; (n = read(0, buf, sizeof buf)) > 0; total += (unsigned long long)n)
		for (ssize_t i = 0; i < n; i++)
			wrong += (unsigned char)buf[i] != (unsigned char)((total + (unsigned long long)i) % 251);
	dprintf(1, "%llu %llu", total, wrong);
}

static void play(int argc, char **argv)
{
	const char *part = argv[1];
	if (strcmp(part, "world") == 0) {
		tell_descriptors();
		tell_limits();
		tell_signals();
		dprintf(1, "environment %d group %d arguments %d %s\n", environ && environ[0], getpgrp() == getpid(),
		        argc, argc > 2 ? argv[2] : "");
	} else if (strcmp(part, "nice") == 0) {
		dprintf(1, "%d", getpriority(PRIO_PROCESS, 0));
	} else if (strcmp(part, "status") == 0) {
		_exit(atoi(argv[2]));
	} else if (strcmp(part, "signal") == 0) {
		raise(SIGKILL);
	} else if (strcmp(part, "count") == 0) {
		copy_count();
	} else if (strcmp(part, "slow") == 0) {
		usleep(300 * 1000);
		copy_count();
	} else if (strcmp(part, "deaf") == 0) {
		close(0);
		dprintf(1, "deaf");
		for (;;)
			pause();
	} else if (strcmp(part, "silent") == 0) {
		for (;;)
			pause();
	}
	_exit(0);
}

/* --- starting and reading it ----------------------------------------------------------------------- */

#define START(s, memory, ...) spawn((s), (char *const[]){__VA_ARGS__, NULL}, (memory))

static int write_to(struct spawned *s, const void *bytes, uint64_t count, unsigned within_ms)
{
	return spawn_write(s, bytes, count, (now_ms() + within_ms) * 1000000);
}

/* What it says until it closes its output; a static string. */
static const char *read_all(struct spawned *s)
{
	static char text[8192];
	size_t len = 0;
	uint64_t until = now_ms() + WAIT_MS;
	for (;;) {
		struct pollfd p = {s->from_fd, POLLIN, 0};
		ssize_t n = read(s->from_fd, text + len, sizeof text - 1 - len);
		if (n == 0 || len + 1 == sizeof text || now_ms() > until)
			break;
		if (n > 0)
			len += (size_t)n;
		else
			poll(&p, 1, 100);
	}
	text[len] = '\0';
	return text;
}

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
	spawn_end(&s);
	return said;
}

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void assert_nothing(const struct spawned *s)
{
	assert_int_equal(s->pid, 0);
	assert_int_equal(s->to_fd, -1);
	assert_int_equal(s->from_fd, -1);
}

static void assert_no_child(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
}

/* As the listener is: no signal reaches this thread. */
static void block_signals(void)
{
	sigset_t all;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
}

static int set_up(void **state)
{
	(void)state;
	block_signals();
	spawn_start();
	return 0;
}

static void child_begin(void)
{
	spawn_start();
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
	CHECK(spawn_end(&s) == 0);
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
	assert_int_equal(spawn_end(&s), 0);
	assert_nothing(&s);
}

static void test_there_is_one_at_a_time(void **state)
{
	struct spawned first, second = {1, 2, 3};
	(void)state;
	assert_false(spawn_is_running());
	assert_int_equal(START(&first, ANY_MEMORY, SELF, "count"), 0);
	assert_true(spawn_is_running());
	int before = count_descriptors();
	assert_int_equal(START(&second, ANY_MEMORY, SELF, "count"), -EBUSY);
	assert_nothing(&second);
	assert_int_equal(spawn_end(&second), -1);
	assert_int_equal(count_descriptors(), before);
	spawn_close_input(&first); /* it is none the worse */
	assert_string_equal(read_all(&first), "0 0");
	assert_int_equal(spawn_end(&first), 0);
	/* nor does one that was killed by spawn_kill stand in the way */
	assert_int_equal(START(&first, ANY_MEMORY, SELF, "silent"), 0);
	spawn_kill();
	assert_string_equal(read_all(&first), "");
	assert_int_equal(START(&second, ANY_MEMORY, SELF, "count"), 0);
	assert_int_equal(spawn_end(&first), -1); /* which is not the second */
	spawn_close_input(&second);
	assert_string_equal(read_all(&second), "0 0");
	assert_int_equal(spawn_end(&second), 0);
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
	spawn_end(&s);
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
	CHECK(spawn_end(&s) == 0);
	expect_no_child();
	CHECK(START(&s, ANY_MEMORY, SELF, "silent") == 0);
	CHECK(spawn_end(&s) == SIGKILL);
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
	CHECK(WEXITSTATUS(spawn_end(&s)) == 7);
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
	CHECK(WEXITSTATUS(spawn_end(&s)) == 9);
}

static void test_a_wait_for_any_child_waits_for_the_programs_own(void **state)
{
	(void)state;
	assert_int_equal(child_status(child_begin, wait_for_own), 0);
}

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
		int status = spawn_end(&s);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), rows[i]);
		assert_nothing(&s);
		assert_int_equal(spawn_end(&s), -1);
	}
	assert_int_equal(START(&s, ANY_MEMORY, SELF, "signal"), 0);
	read_all(&s);
	assert_int_equal(spawn_end(&s), SIGKILL);
	assert_no_child();
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
		struct spawned s = {1, 2, 3};
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
			assert_int_equal(spawn_end(&s), 0);
		} else if (i % 3 == 1) {
			assert_int_equal(START(&s, ANY_MEMORY, "/bin/sleep", "1000"), 0);
			assert_int_equal(spawn_end(&s), SIGKILL);
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
		struct spawned s = {1, 2, 3};
		CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
		few.rlim_max = old.rlim_max;
		CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
		int r = START(&s, ANY_MEMORY, "/bin/sleep", "1000");
		CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
		CHECK(r <= 0 && (r == 0) == (s.pid > 0));
		CHECK(r == 0 || (n < 20 && s.to_fd == -1 && s.from_fd == -1));
		spawn_end(&s);
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
	spawn_end(&s);
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
		assert_int_equal(spawn_end(&s), 0);
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
	assert_int_equal(spawn_end(&s), SIGKILL);
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
		CHECK(spawn_end(&s) == SIGKILL);
		CHECK(START(&s, ANY_MEMORY, SELF, "status", "0") == 0);
		read_all(&s);
		CHECK(write_to(&s, bytes, sizeof bytes, WAIT_MS) == -EPIPE);
		CHECK(spawn_end(&s) == 0);
		CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == own);
	}
}

static void test_one_that_reads_no_more_is_an_error_and_no_signal(void **state)
{
	(void)state;
	assert_int_equal(child_status(child_begin, write_to_the_deaf), 0);
}

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
	struct spawned s = {1, 2, 3};
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
	CHECK(spawn_end(&s) == SIGKILL);
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
		assert_int_equal(spawn_end(&s), 0);
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
		cmocka_unit_test(test_its_status_is_told),
		cmocka_unit_test(test_what_cannot_be_started_says_why_and_leaves_nothing),
		cmocka_unit_test(test_hundreds_leave_no_descriptor_and_no_zombie),
		cmocka_unit_test(test_without_descriptors_it_is_an_error),
		cmocka_unit_test(test_it_ends_with_the_thread_that_started_it),
		cmocka_unit_test(test_it_ends_with_the_process),
		cmocka_unit_test(test_all_is_written_to_one_that_reads_slowly),
		cmocka_unit_test(test_one_that_does_not_read_is_waited_for_no_longer_than_said),
		cmocka_unit_test(test_one_that_reads_no_more_is_an_error_and_no_signal),
		cmocka_unit_test(test_a_program_that_confines_itself_is_left_alone),
		cmocka_unit_test(test_a_filter_from_before_the_start_is_no_reason),
		cmocka_unit_test(test_a_fork_child_is_confined_as_its_parent_was),
		cmocka_unit_test(test_many_groups_hide_no_filter),
		cmocka_unit_test(test_the_programs_threads_go_on),
	};
#ifdef __SANITIZE_THREAD__
	/* Three processes on stacks of one memory, in turn by the kernel's word: the sanitizer takes them for threads
	 * that race. */
	printf("1..%zu\n", COUNT(tests));
	for (size_t n = 0; n < COUNT(tests); n++)
		printf("ok %zu - %s # SKIP not for this sanitizer\n", n + 1, tests[n].name);
	return set_up == NULL;
#else
	return cmocka_run_group_tests(tests, set_up, NULL);
#endif
}
