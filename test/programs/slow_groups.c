/* slow_groups.c - initgroups takes long, and what it calls does anything.
 *
 * slow_groups HOW [PORT]
 * libc's initgroups calls malloc, which this program defines itself, in place of a slow name service:
 *   calls    there it waits until the main thread has waited for children of every kind, failed to exec, and bound PORT
 *   handler  there a signal comes; its handler runs at once, and execs
 * Truth: calls: `bind 0`, `exec -1`, `child -1`, `initgroups 0`, `waited 0`: the main thread did all that meanwhile;
 * `blocked 0`: signals blocked in malloc. handler: `handler 1`, then from the new program `again`. Needs root.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

static char memory[64 << 20] __attribute__((aligned(16)));
static size_t used;
static __thread int is_slow;
static sem_t begun, done;
static int waited_in_vain, handled, blocked;
static const char *how;

static void be_slow(void)
{
	struct timespec until;
	sigset_t set;
	is_slow = 0;
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	for (int i = 1; i < 65; i++)
		blocked += sigismember(&set, i) == 1;
	if (strcmp(how, "handler") == 0) {
		raise(SIGUSR1);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	sem_post(&begun);
	waited_in_vain = sem_timedwait(&done, &until) != 0;
}

void *malloc(size_t bytes)
{
	if (is_slow)
		be_slow();
	size_t at = __atomic_fetch_add(&used, (bytes + 31) / 16 * 16, __ATOMIC_RELAXED);
	if (at + bytes + 32 > sizeof memory)
		return NULL;
	*(size_t *)(void *)(memory + at) = bytes;
	return memory + at + 16;
}

void free(void *p)
{
	(void)p;
}

void *calloc(size_t n, size_t bytes)
{
	return malloc(n * bytes); /* the memory is never used again */
}

void *realloc(void *old, size_t bytes)
{
	void *p = malloc(bytes);
	size_t had = old ? *(size_t *)(void *)((char *)old - 16) : 0;
	return p && old ? memcpy(p, old, had < bytes ? had : bytes) : p;
}

static void on_signal(int sig)
{
	char *argv[] = {"slow_groups", "again", NULL};
	handled = sig == SIGUSR1;
	(void)!write(1, "handler 1\n", 10);
	execv("/proc/self/exe", argv);
}

static void *change(void *unused)
{
	(void)unused;
	is_slow = 1;
	printf("initgroups %d\n", initgroups("nobody", 65534));
	is_slow = 0;
	return NULL;
}

static int bind_port(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	return bind(fd, (void *)&a, sizeof a);
}

int main(int argc, char **argv)
{
	char *nothing[] = {"nothing", NULL};
	pthread_t t;
	how = argc > 1 ? argv[1] : "calls";
	if (strcmp(how, "again") == 0) {
		printf("again\n");
		return 0;
	}
	sem_init(&begun, 0, 0);
	sem_init(&done, 0, 0);
	signal(SIGUSR1, on_signal);
	ready_and_wait();
	pthread_create(&t, NULL, change, NULL);
	if (strcmp(how, "handler") != 0) {
		sem_wait(&begun);
		printf("bind %d\n", bind_port(argc > 2 ? atoi(argv[2]) : 0));
		printf("exec %d\n", execv("/nonexistent", nothing));
		printf("child %d\n", waitpid(-1, NULL, __WALL));
		sem_post(&done);
	}
	pthread_join(t, NULL);
	printf("waited %d\nblocked %d\n", waited_in_vain, blocked);
	return 0;
}
