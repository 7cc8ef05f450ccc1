/* idle_frames.c - threads that block in functions with frame pointers, before anybody asks.
 *
 * flags: -O0 -fno-omit-frame-pointer
 * Runs in: a test program. Each thread goes through outer, by_pointer or direct, and inner to a read of stdin's, a
 * pipe's or a poll. Buffers on the way hold what earlier calls left. Truth: `ready`; until the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int pipes[2];

static __attribute__((noinline)) long inner(int how)
{
	char buffer[3000];
	if (how == 0)
		return read(pipes[0], buffer, 1);
	if (how == 1)
		return poll(&(struct pollfd){.fd = pipes[0], .events = POLLIN}, 1, -1);
	return (long)strlen(strcpy(buffer, "returns at once, and leaves its frame behind"));
}

static __attribute__((noinline)) long direct(int how)
{
	char buffer[500];
	buffer[0] = 0;
	return inner(how) + buffer[0];
}

static __attribute__((noinline)) long by_pointer(int how)
{
	long (*volatile next)(int) = inner;
	return next(how);
}

static __attribute__((noinline)) void *outer(void *arg)
{
	long how = (long)arg;
	for (int i = 0; i < 10; i++)
		direct(2), by_pointer(2);
	return (void *)(how & 4 ? by_pointer((int)how & 3) : direct((int)how & 3));
}

int main(void)
{
	pthread_t t;
	if (pipe(pipes) != 0)
		return 1;
	for (long how = 0; how < 8; how++)
		if ((how & 3) < 2) {
			pthread_create(&t, NULL, outer, (void *)how);
			char name[16];
			snprintf(name, sizeof name, "how-%ld", how);
			pthread_setname_np(t, name);
		}
	usleep(50000);
	puts("ready");
	fflush(stdout);
	getchar();
	return 0;
}
