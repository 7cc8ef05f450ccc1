/* reset_signals.c - set all signals to their default by bare system calls, as some supervisors do, again and again
 * while computing.
 *
 * reset_signals           ends when stdin does
 * Runs in: a test program. Prints `ready 1`, at the end `rounds N`, `wrong N` (0: every answer was as the kernel gives
 * it: what was set last comes back, bad addresses and sizes are refused).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>

#include "clocks.h"
#include "truth.h"

struct action {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

static atomic_bool stop;

static long set(int sig, const void *act, void *old, size_t size)
{
	return syscall(SYS_rt_sigaction, sig, act, old, size);
}

static void nothing(int sig)
{
	(void)sig;
}

/* SIGKILL, 0x100, is in no mask. */
static int wrong_answers(void)
{
	struct action set_now = {
		.handler = nothing, .flags = 0x04000000, .restorer = (void (*)(void))nothing, .mask = 0x300};
	struct action reset = {0}, old = {.flags = 1};
	int wrong = 0;
	wrong += set(33, &set_now, NULL, 8) != 0;
	wrong += set(33, NULL, &old, 8) != 0 || old.handler != nothing || old.mask != 0x200;
	wrong += set(33, &reset, &old, 8) != 0 || old.handler != nothing;
	wrong += set(33, NULL, &old, 8) != 0 || old.handler;
	wrong += set(33, (void *)16, NULL, 8) != -1 || errno != EFAULT;
	wrong += set(33, NULL, (void *)16, 8) != -1 || errno != EFAULT;
	wrong += set(33, NULL, &old, 9) != -1 || errno != EINVAL;
	return wrong;
}

static void *wait_for_end(void *arg)
{
	char c;
	while (read(0, &c, 1) > 0)
		continue;
	atomic_store(&stop, 1);
	return arg;
}

int main(void)
{
	pthread_t waiter;
	long rounds = 0, wrong = 0;
	pthread_create(&waiter, NULL, wait_for_end, NULL);
	puts("ready 1");
	fflush(stdout);
	for (; !atomic_load(&stop); rounds++) {
		struct action reset = {0};
		for (int sig = 1; sig <= 64; sig++)
			set(sig, &reset, NULL, 8);
		wrong += wrong_answers();
		spin(2000000);
	}
	pthread_join(waiter, NULL);
	printf("rounds %ld\nwrong %ld\n", rounds, wrong);
	return 0;
}
