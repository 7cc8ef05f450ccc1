/* trace_truth.c - a second of waits of every kind that a trace tells apart, births and ends of threads, and a dlopen.
 *
 * trace_truth [LIBRARY]
 * Runs in: a test program. At each line on stdin it does it all once. Truth, of all so far: `KIND:SITE:CALL COUNT NS
 * ...` (contention.h; KIND is what the wait is in a trace: sync, net, sleep, select, syscall), `born N` of threads
 * named born-K that create_many made and that lived 10 ms, `loads N` of the library; closes with `mark K`. Ends with
 * stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "contention.h"

enum { TURNS = 20, BORN = 12 };
#define HOLD_NS (10 * MS)

/* ---- locks ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, cond_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static sem_t sem;
static int produced;

#define SITE_OF(kind, name, call) static struct tally name##_waits = {#kind, "wait_in_" #name, call, 0, 0, 0, 0, NULL}

SITE_OF(sync, mutex, "pthread_mutex_lock");
SITE static void hold_mutex(struct race *r)
{
	must(pthread_mutex_lock(&mutex));
	KEEP(r);
}
SITE static void let_go_mutex(struct race *r)
{
	must(pthread_mutex_unlock(&mutex));
	KEEP(r);
}
SITE static void wait_in_mutex(struct race *r, int i)
{
	int64_t t = queue_enter(NULL, i);
	must(pthread_mutex_lock(&mutex));
	queue_leave(NULL, i, t, &mutex_waits);
	KEEP(r);
}
SITE_OF(sync, cond, "pthread_cond_wait");
SITE static void wait_in_cond(struct race *r, int i)
{
	must(pthread_mutex_lock(&cond_mutex));
	while (produced == 0) {
		int64_t t = queue_enter(NULL, i);
		must(pthread_cond_wait(&cond, &cond_mutex));
		queue_leave(NULL, i, t, &cond_waits);
	}
	produced--;
	must(pthread_mutex_unlock(&cond_mutex));
	KEEP(r);
}
SITE static void produce(struct race *r)
{
	must(pthread_mutex_lock(&cond_mutex));
	produced++;
	must(pthread_cond_signal(&cond));
	must(pthread_mutex_unlock(&cond_mutex));
	KEEP(r);
}
SITE_OF(sync, sem, "sem_wait");
SITE static void wait_in_sem(struct race *r, int i)
{
	int64_t t = queue_enter(NULL, i);
	must(sem_wait(&sem));
	queue_leave(NULL, i, t, &sem_waits);
	KEEP(r);
}
SITE static void post(struct race *r)
{
	sem_post(&sem);
	KEEP(r);
}

/* ---- descriptors: somebody else writes after a while ---- */

static int pair[2], pipe_fd[2];

static void no_less(ssize_t result)
{
	if (result < 0)
		abort();
}

SITE_OF(net, recv, "recv");
SITE static void wait_in_recv(struct race *r, int i)
{
	char c;
	int64_t t = queue_enter(NULL, i);
	no_less(recv(pair[0], &c, 1, 0));
	queue_leave(NULL, i, t, &recv_waits);
	KEEP(r);
}
SITE static void send_one(struct race *r)
{
	no_less(send(pair[1], "x", 1, 0));
	KEEP(r);
}

SITE_OF(net, socket_read, "read");
static int read_pair[2];
SITE static void wait_in_socket_read(struct race *r, int i)
{
	char c;
	int64_t t = queue_enter(NULL, i);
	no_less(read(read_pair[0], &c, 1));
	queue_leave(NULL, i, t, &socket_read_waits);
	KEEP(r);
}
SITE static void write_one(struct race *r)
{
	no_less(write(read_pair[1], "x", 1));
	KEEP(r);
}

SITE_OF(syscall, pipe, "read");
SITE static void wait_in_pipe(struct race *r, int i)
{
	char c;
	int64_t t = queue_enter(NULL, i);
	no_less(read(pipe_fd[0], &c, 1));
	queue_leave(NULL, i, t, &pipe_waits);
	KEEP(r);
}
SITE static void write_pipe(struct race *r)
{
	no_less(write(pipe_fd[1], "x", 1));
	KEEP(r);
}

/* ---- time, and children: nobody ends these ---- */

SITE_OF(sleep, nanosleep, "nanosleep");
SITE static void wait_in_nanosleep(struct race *r, int i)
{
	struct timespec ten = timespec_of(HOLD_NS);
	int64_t t = queue_enter(NULL, i);
	must(nanosleep(&ten, NULL));
	queue_leave(NULL, i, t, &nanosleep_waits);
	KEEP(r);
}
SITE_OF(sleep, usleep, "usleep");
SITE static void wait_in_usleep(struct race *r, int i)
{
	int64_t t = queue_enter(NULL, i);
	must(usleep(HOLD_NS / 1000));
	queue_leave(NULL, i, t, &usleep_waits);
	KEEP(r);
}
SITE_OF(select, poll, "poll");
static int quiet_pipe[2], epoll_fd;
SITE static void wait_in_poll(struct race *r, int i)
{
	struct pollfd p = {.fd = quiet_pipe[0], .events = POLLIN};
	int64_t t = queue_enter(NULL, i);
	must(poll(&p, 1, HOLD_NS / MS));
	queue_leave(NULL, i, t, &poll_waits);
	KEEP(r);
}
SITE_OF(select, select, "select");
SITE static void wait_in_select(struct race *r, int i)
{
	struct timeval ten = {0, HOLD_NS / 1000};
	fd_set s;
	FD_ZERO(&s);
	FD_SET(quiet_pipe[0], &s);
	int64_t t = queue_enter(NULL, i);
	must(select(quiet_pipe[0] + 1, &s, NULL, NULL, &ten));
	queue_leave(NULL, i, t, &select_waits);
	KEEP(r);
}
SITE_OF(select, epoll, "epoll_wait");
SITE static void wait_in_epoll(struct race *r, int i)
{
	struct epoll_event e;
	int64_t t = queue_enter(NULL, i);
	must(epoll_wait(epoll_fd, &e, 1, HOLD_NS / MS));
	queue_leave(NULL, i, t, &epoll_waits);
	KEEP(r);
}
SITE_OF(syscall, waitpid, "waitpid");
SITE static void wait_in_waitpid(struct race *r, int i)
{
	pid_t pid = fork();
	if (pid == 0) {
		nap(HOLD_NS);
		_exit(0);
	}
	int64_t t = queue_enter(NULL, i);
	must(waitpid(pid, NULL, 0) != pid);
	queue_leave(NULL, i, t, &waitpid_waits);
	KEEP(r);
}

/* ---- births ---- */

static int born;
static void *live(void *arg)
{
	char name[16];
	snprintf(name, sizeof name, "born-%d", __atomic_fetch_add(&born, 1, __ATOMIC_SEQ_CST));
	pthread_setname_np(pthread_self(), name);
	nap(HOLD_NS);
	return arg;
}
SITE_OF(sync, join, "pthread_join");
SITE static void wait_in_join(pthread_t t)
{
	int64_t from = queue_enter(NULL, 0);
	must(pthread_join(t, NULL));
	queue_leave(NULL, 0, from, &join_waits);
}
SITE static void create_many(void)
{
	for (int i = 0; i < BORN; i++) {
		pthread_t t;
		must(pthread_create(&t, NULL, live, NULL));
		wait_in_join(t);
	}
}

#define ENDED_BY(name, begin, end) \
	{ \
#name, begin, end, wait_in_##name, NULL, 1, 0, 0 \
	}
#define ENDS(name) \
	{ \
#name, NULL, NULL, wait_in_##name, NULL, 1, 1, 0 \
	}
static const struct race known[] = {
	{"mutex", hold_mutex, let_go_mutex, wait_in_mutex, let_go_mutex, 3, 0, 1},
	ENDED_BY(cond, NULL, produce),
	ENDED_BY(sem, NULL, post),
	ENDED_BY(recv, NULL, send_one),
	ENDED_BY(socket_read, NULL, write_one),
	ENDED_BY(pipe, NULL, write_pipe),
	ENDS(nanosleep),
	ENDS(usleep),
	ENDS(poll),
	ENDS(select),
	ENDS(epoll),
	ENDS(waitpid),
};

int main(int argc, char **argv)
{
	char line[64];
	int loads = 0;
	must(sem_init(&sem, 0, 0));
	must(pipe(pipe_fd) | pipe(quiet_pipe) | socketpair(AF_UNIX, SOCK_STREAM, 0, pair) |
	     socketpair(AF_UNIX, SOCK_STREAM, 0, read_pair));
	struct epoll_event e = {.events = EPOLLIN};
	epoll_fd = epoll_create1(0);
	must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, quiet_pipe[0], &e));
	tallies_begin();
	printf("main_tid %d\nready 1\n", own_tid());
	fflush(stdout);
	for (int mark = 1; fgets(line, sizeof line, stdin); mark++) {
		struct race *races = malloc(sizeof known);
		memcpy(races, known, sizeof known);
		races_run(races, sizeof known / sizeof *known, TURNS, HOLD_NS);
		create_many();
		if (argc > 1) {
			void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
			must(!library || dlclose(library) != 0);
			loads++;
		}
		tallies_print();
		printf("born %d\nloads %d\nmark %d\n", born, loads, mark);
		fflush(stdout);
	}
	_exit(0);
}
