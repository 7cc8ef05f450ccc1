/* test_server_fork.c - the server in a program that takes its descriptors, and that forks.
 *
 * Runs in: its own process; the server in a thread of it (test/unit/support/served.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: test/unit/support/served.c test/unit/support/stub_encoder.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim/base/arena.h"
#include "shim/base/house.h"
#include "http/address/fd.h"
#include "test/unit/support/served.h"

/* The highest numbers are ours: accepted connections. */
static int highest_fd(void)
{
	int most = -1;
	DIR *d = opendir("/proc/self/fd");
	for (struct dirent *e; (e = readdir(d));)
		if (atoi(e->d_name) > most)
			most = atoi(e->d_name);
	closedir(d);
	return most;
}

static void test_a_descriptor_that_the_program_took_is_left_alone(void **state)
{
	(void)state;
	int before = highest_fd(), fd = dial(), other = dial(), pair[2];
	say(fd, GET("/debug/pprof/heap"));
	assert_int_equal(hear(fd).status, 200);
	int theirs = highest_fd();
	assert_true(theirs > before);                 /* fd's, idle now, or other's */
	int copy = fcntl(theirs, F_DUPFD_CLOEXEC, 0); /* keeps it in the epoll set, as a fork child does */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(dup2(pair[0], theirs), theirs);
	send(fd, "x", 1, MSG_NOSIGNAL);
	send(other, "x", 1, MSG_NOSIGNAL);
	sleep_ms(50);
	double spent = thread_seconds();
	sleep_ms(200);
	assert_true(thread_seconds() - spent < 0.05);
	sleep_ms(800); /* past every deadline */
	say_bytes(pair[1], "mine", 4);
	char text[4];
	assert_int_equal(recv(theirs, text, 4, MSG_DONTWAIT), 4); /* nobody read it, nobody closed it */
	assert_memory_equal(text, "mine", 4);
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
	close(theirs);
	close(copy);
	close(pair[0]);
	close(pair[1]);
	close(fd);
	close(other);
}

static void test_a_profile_whose_descriptor_the_program_took_is_abandoned(void **state)
{
	(void)state;
	int before = highest_fd(), fd, pair[2];
	begin_long_profile(&fd);
	int theirs = highest_fd();
	assert_true(theirs > before);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(dup2(pair[0], theirs), theirs);
	wait_for(&stub.abandons, 1);
	sleep_ms(100);
	assert_int_equal(counted(&stub.abandons), 1);
	assert_int_equal(fcntl(theirs, F_GETFD) >= 0, 1);
	close(theirs);
	close(pair[0]);
	close(pair[1]);
	close(fd);
}

static void test_a_fork_childs_copies_neither_keep_clients_nor_wake_the_server(void **state)
{
	(void)state;
	int fd = dial(), go[2];
	char c;
	say(fd, GET("/debug/pprof/heap"));
	assert_int_equal(hear(fd).status, 200);
	assert_int_equal(pipe(go), 0);
	pid_t child = fork();
	if (child == 0) {
		close(go[1]);
		_exit(read(go[0], &c, 1) == 0 ? 0 : 1);
	}
	close(go[0]);
	assert_closed(fd); /* idle for too long: the client sees it although the child holds a copy */
	double spent = thread_seconds();
	sleep_ms(200);
	assert_true(thread_seconds() - spent < 0.05);
	close(go[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	close(fd);
}

#ifndef __SANITIZE_THREAD__ /* which cannot start a thread in a child of threads */
/* A child has what the server has at the fork: none of the tests forks while it is still at the last answer. */
static pid_t fork_while_it_sleeps(void)
{
	until_server_sleeps();
	return fork();
}

static int child_life(void)
{
	struct address a = parsed("127.0.0.1:0");
	struct server_options options = run.options;
	int parents_listen = options.listen_fd, parents_port = run.address.port;
	options.listen_fd = address_listen(&a);
	options.address = a;
	options.wake_fd = eventfd(0, EFD_CLOEXEC);
	run.options = options;
	run.address = a;
	if (pthread_create(&run.thread, NULL, serve, NULL) != 0)
		return 1;
	if (ask(GET("/debug/pprof/heap")).status != 200)
		return 2;
	struct sockaddr_in held = {0}; /* the number may serve something else by now */
	socklen_t len = sizeof held;
	if (getsockname(parents_listen, (struct sockaddr *)&held, &len) == 0 && ntohs(held.sin_port) == parents_port)
		return 3;
	give_order(server_stop);
	pthread_join(run.thread, NULL);
	return arena_mapped_bytes() == 0 ? 0 : 4;
}

static void test_a_fork_child_serves_anew_and_leaves_the_parents_clients_alone(void **state)
{
	(void)state;
	int idle = dial(), waits = dial(), status;
	say(idle, GET("/debug/pprof/heap"));
	assert_int_equal(hear(idle).status, 200);
	say(waits, GET("/debug/pprof/heap?seconds=1"));
	for (int i = 0; i < 20000 && taken() < 2; i++)
		sleep_ms(1);
	pid_t child = fork_while_it_sleeps();
	if (child == 0)
		_exit(child_life());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	say(idle, GET("/nothing"));
	assert_int_equal(hear(idle).status, 404);
	assert_int_equal(hear(waits).status, 200);
	close(idle);
	close(waits);
}
/* Where the listener has a table of its own, the numbers it left in memory mean the child's own files. */
static int child_life_in_another_table(void)
{
	enum { FROM = 850, TO = 930 };
	int mine[2];
	if (pipe(mine) != 0)
		return 10;
	struct fd_identity identity = fd_identify(mine[0]);
	for (int fd = FROM; fd < TO; fd++)
		if (dup2(mine[0], fd) != fd)
			return 11;
	int status = child_life();
	if (status)
		return status;
	for (int fd = FROM; fd < TO; fd++)
		if (!fd_is(fd, identity))
			return 12;
	return 0;
}

enum { OVER = 30 };
static int child_life_without_a_profile(void)
{
	shared_set_own(&house.generation, shared_own(&house.generation) + 1); /* as libc's fork handler has it */
	if (counted(&stub.ends))
		return OVER; /* before the fork */
	int status = child_life();
	return status ? status : counted(&stub.abandons) + counted(&stub.ends) ? 20 : 0;
}

static bool fork_in_a_profile(void)
{
	int fd = dial(), status;
	forget_counts();
	stub.drain_ms = 50;
	say(fd, GET("/debug/pprof/profile?seconds=1"));
	wait_for(&stub.begins, 1);
	pid_t child = fork_while_it_sleeps();
	if (child == 0)
		_exit(child_life_without_a_profile());
	assert_int_equal(waitpid(child, &status, 0), child);
	bool over = status == OVER << 8;
	assert_true(over || status == 0);
	assert_int_equal(hear(fd).status, 200);
	assert_int_equal(counted(&stub.ends), 1);
	assert_int_equal(counted(&stub.abandons), 0);
	close(fd);
	return !over;
}

static void test_a_fork_child_leaves_the_parents_profile_alone(void **state)
{
	(void)state;
	expect_in_a_turn(fork_in_a_profile);
}

static void test_a_fork_child_loses_no_file_that_has_a_number_of_the_parents(void **state)
{
	(void)state;
	int idle = dial(), status;
	say(idle, GET("/debug/pprof/heap"));
	assert_int_equal(hear(idle).status, 200);
	pid_t child = fork_while_it_sleeps();
	if (child == 0)
		_exit(child_life_in_another_table());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	say(idle, GET("/nothing"));
	assert_int_equal(hear(idle).status, 404);
	close(idle);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		HURRIED(test_a_descriptor_that_the_program_took_is_left_alone),
		SERVED(test_a_profile_whose_descriptor_the_program_took_is_abandoned),
		HURRIED(test_a_fork_childs_copies_neither_keep_clients_nor_wake_the_server),
#ifndef __SANITIZE_THREAD__
		SERVED(test_a_fork_child_serves_anew_and_leaves_the_parents_clients_alone),
		SERVED(test_a_fork_child_leaves_the_parents_profile_alone),
		SERVED(test_a_fork_child_loses_no_file_that_has_a_number_of_the_parents),
#endif
	};
	signal(SIGPIPE, SIG_DFL); /* one from the server would end us */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
