/* begun_idle.c - threads that have been in a call since before anybody asked for anything.
 *
 * usage: begun_idle [MARK [late]]   MARK: offset of the mark of the profiler's timer signal in its library, in
 * hexadecimal; late: it prints "alone" and waits for a line before it makes its first thread
 *
 * Prints "ready" when all stand in their calls. Then by lines of its input:
 *   hit      send each of them the profiler's own signal, 20 times; prints "hit N", of so many threads
 *   look     prints "early N": calls that have come back
 *   signal   send each a signal with a handler, without SA_RESTART; prints "interrupted N of N": calls that failed with
 * EINTR, and of how many
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HITS = 20, OURS = 33, HOUR_MS = 3600000 };

static const struct timespec hour = {.tv_sec = HOUR_MS / 1000};
static int queue, semaphore;
static pid_t child;

static int new_pipe(void)
{
	int fds[2];
	return pipe(fds) == 0 ? fds[0] : -1;
}

static int new_socket(int timed)
{
	int fds[2];
	struct timeval t = {.tv_sec = timed ? HOUR_MS / 1000 : 0};
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
		return -1;
	setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
	return fds[0];
}

static int new_listener(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	bind(fd, (struct sockaddr *)&a, sizeof a);
	listen(fd, 1);
	return fd;
}

static int new_epoll(void)
{
	struct epoll_event e = {.events = EPOLLIN};
	int fd = epoll_create1(0);
	epoll_ctl(fd, EPOLL_CTL_ADD, new_pipe(), &e);
	return fd;
}

static fd_set *set_of(int fd, fd_set *set)
{
	FD_ZERO(set);
	FD_SET(fd, set);
	return set;
}

static char byte;
static struct iovec vector = {&byte, 1};
static unsigned word;
static sem_t sem;
static struct {
	long type;
	char text[8];
} message;

#define CALL(name, ...) \
	static long c_##name(void) \
	{ \
		__VA_ARGS__; \
	}
CALL(read, return read(new_pipe(), &byte, 1))
CALL(readv, return readv(new_pipe(), &vector, 1))
CALL(recv, return recv(new_socket(0), &byte, 1, 0))
CALL(recv_timed, return recv(new_socket(1), &byte, 1, 0))
CALL(recvmsg, struct msghdr m = {.msg_iov = &vector, .msg_iovlen = 1}; return recvmsg(new_socket(1), &m, 0))
CALL(accept, return accept(new_listener(), NULL, NULL))
CALL(poll, struct pollfd p = {.fd = new_pipe(), .events = POLLIN}; return poll(&p, 1, -1))
CALL(poll_timed, struct pollfd p = {.fd = new_pipe(), .events = POLLIN}; return poll(&p, 1, HOUR_MS))
CALL(ppoll, struct pollfd p = {.fd = new_pipe(), .events = POLLIN}; return ppoll(&p, 1, &hour, NULL))
CALL(select, int fd = new_pipe(); fd_set s; return select(fd + 1, set_of(fd, &s), NULL, NULL, NULL))
CALL(pselect, int fd = new_pipe(); fd_set s; return pselect(fd + 1, set_of(fd, &s), NULL, NULL, &hour, NULL))
CALL(epoll_wait, struct epoll_event e; return epoll_wait(new_epoll(), &e, 1, -1))
CALL(epoll_pwait, struct epoll_event e; return epoll_pwait(new_epoll(), &e, 1, HOUR_MS, NULL))
CALL(nanosleep, return nanosleep(&hour, NULL))
CALL(clock_nanosleep, errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &hour, NULL); return errno ? -1 : 0)
CALL(usleep, return usleep(HOUR_MS * 1000u))
CALL(sleep, errno = EINTR; return sleep(HOUR_MS / 1000) ? -1 : 0)
CALL(pause, return pause())
CALL(sigsuspend, sigset_t s; sigemptyset(&s); return sigsuspend(&s))
CALL(sigtimedwait, sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR2); return sigtimedwait(&s, NULL, &hour))
CALL(sem_wait, return sem_wait(&sem))
CALL(wait, return waitpid(child, NULL, 0))
CALL(msgrcv, return msgrcv(queue, &message, sizeof message.text, 0, 0))
CALL(semop, struct sembuf b = {0, -1, 0}; return semop(semaphore, &b, 1))
CALL(semtimedop, struct sembuf b = {0, -1, 0}; return semtimedop(semaphore, &b, 1, &hour))
CALL(futex, return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0))
CALL(futex_timed, return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &hour, NULL, 0))
CALL(epoll_by_number, struct epoll_event e; return syscall(SYS_epoll_pwait, new_epoll(), &e, 1, -1, NULL, 8))

static struct stander {
	const char *name;
	long (*call)(void);
	atomic_int tid, done;
	int interrupted;
	pthread_t thread;
} standers[] = {
#define ROW(name) {#name, c_##name, 0, 0, 0, 0},
	ROW(read) ROW(readv) ROW(recv) ROW(recv_timed) ROW(recvmsg) ROW(accept) ROW(poll) ROW(poll_timed) ROW(ppoll)
		ROW(select) ROW(pselect) ROW(epoll_wait) ROW(epoll_pwait) ROW(nanosleep) ROW(clock_nanosleep)
			ROW(usleep) ROW(sleep) ROW(pause) ROW(sigsuspend) ROW(sigtimedwait) ROW(sem_wait) ROW(wait)
				ROW(msgrcv) ROW(semop) ROW(semtimedop) ROW(futex) ROW(futex_timed)
					ROW(epoll_by_number)};
enum { STANDERS = sizeof standers / sizeof *standers };

static void on_signal(int sig)
{
	(void)sig;
}

static void *stand(void *arg)
{
	struct stander *s = arg;
	s->tid = (int)syscall(SYS_gettid);
	long r = s->call();
	s->interrupted = r == -1 && errno == EINTR;
	s->done = 1;
	return NULL;
}

/* The call that it is blocked in, with its arguments and registers, as the kernel shows it. */
static int see_call(struct stander *s, char text[256])
{
	char path[64];
	memset(text, 0, 256);
	snprintf(path, sizeof path, "/proc/self/task/%d/syscall", s->tid);
	FILE *f = fopen(path, "r");
	if (!f)
		return 0;
	size_t n = fread(text, 1, 255, f);
	fclose(f);
	return n > 0 && text[0] >= '0' && text[0] <= '9';
}

/* In the same call for a while: on a busy machine what goes before it may block for a moment. */
static int is_blocked(struct stander *s)
{
	char before[256], now[256];
	if (!see_call(s, before))
		return 0;
	usleep(20000);
	return see_call(s, now) && strcmp(before, now) == 0;
}

static int find_library(struct dl_phdr_info *info, size_t size, void *base)
{
	(void)size;
	if (strstr(info->dlpi_name, "pprofshim"))
		*(uintptr_t *)base = info->dlpi_addr;
	return 0;
}

/* Has it the profiler's signal before it? */
static int is_pending(struct stander *s)
{
	char path[64], line[128];
	unsigned long long pending = 0;
	snprintf(path, sizeof path, "/proc/self/task/%d/status", s->tid);
	FILE *f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "SigPnd: %llx", &pending) == 1)
			break;
	if (f)
		fclose(f);
	return pending >> (OURS - 1) & 1;
}

static void hit(struct stander *s, void *mark)
{
	struct sigevent e = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = OURS, .sigev_value.sival_ptr = mark};
	struct timespec at_once[2] = {{0}, {.tv_nsec = 1}}, nap = {.tv_nsec = 1000000};
	int timer;
	e._sigev_un._tid = s->tid;
	if (s->done || syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &timer) != 0)
		return;
	for (int i = 0; i < HITS; i++) {
		syscall(SYS_timer_settime, timer, 0, at_once, NULL);
		/* Newer kernels take away what is pending of a timer that is set again, or deleted: the call that it
		 * has ended would fail with EINTR then, and no handler run. */
		do
			nanosleep(&nap, NULL);
		while (is_pending(s));
	}
	syscall(SYS_timer_delete, timer);
}

static int count_done(void)
{
	int n = 0;
	for (int i = 0; i < STANDERS; i++) {
		n += standers[i].done;
		if (standers[i].done)
			fprintf(stderr, "%s is back\n", standers[i].name);
	}
	return n;
}

static void interrupt_all(void)
{
	int interrupted = 0;
	for (int i = 0; i < STANDERS; i++) {
		pthread_kill(standers[i].thread, SIGUSR1);
		pthread_join(standers[i].thread, NULL);
		interrupted += standers[i].interrupted;
		if (!standers[i].interrupted)
			fprintf(stderr, "%s was not interrupted\n", standers[i].name);
	}
	printf("interrupted %d of %d\n", interrupted, STANDERS);
}

int main(int argc, char **argv)
{
	struct sigaction a = {.sa_handler = on_signal};
	uintptr_t base = 0, offset = argc > 1 ? strtoul(argv[1], NULL, 16) : 0;
	char line[64];
	sigaction(SIGUSR1, &a, NULL);
	dl_iterate_phdr(find_library, &base);
	sem_init(&sem, 0, 0);
	queue = msgget(IPC_PRIVATE, 0600);
	semaphore = semget(IPC_PRIVATE, 1, 0600);
	child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	if (argc > 2) {
		puts("alone");
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin))
			return 2;
	}
	for (int i = 0; i < STANDERS; i++)
		pthread_create(&standers[i].thread, NULL, stand, &standers[i]);
	for (int i = 0; i < STANDERS; i++)
		while (!standers[i].tid || !is_blocked(&standers[i]))
			usleep(1000);
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		if (strcmp(line, "hit\n") == 0) {
			for (int i = 0; i < STANDERS; i++)
				hit(&standers[i], (void *)(base + offset));
			printf("hit %d\n", STANDERS);
		} else if (strcmp(line, "look\n") == 0) {
			printf("early %d\n", count_done());
		} else if (strcmp(line, "signal\n") == 0) {
			interrupt_all();
		}
		fflush(stdout);
	}
	kill(child, SIGKILL);
	msgctl(queue, IPC_RMID, NULL);
	semctl(semaphore, 0, IPC_RMID);
	return 0;
}
