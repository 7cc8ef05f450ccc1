/* sigwait_all.c - a signal thread that waits for every signal there is, while all other threads block them all.
 *
 * sigwait_all [SECONDS]
 * Runs in: a test program. The signal thread waits by sigwait, sigwaitinfo and sigtimedwait, on a set by sigfillset and
 * on one of 64 ones in turn; the process sends itself signals, to the process and to the thread, and each must arrive
 * exactly once. Aborts at a signal that it did not send, at EINTR and at an early return. Truth: `ready`; at the end
 * `sent N`, `received N`, `worked 1`, `end 1`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>

#include "clocks.h"
#include "truth.h"

static atomic_bool stop;
static atomic_long sent, received;
static atomic_int expected; /* the signal that is under way, 0 if none */
static pthread_t waiting;

static void die(const char *what, int value)
{
	fprintf(stderr, "sigwait_all: %s: %d, errno %d, sent %ld, received %ld\n", what, value, errno, (long)sent,
	        (long)received);
	abort();
}

static void arrived(int sig, const siginfo_t *info)
{
	int own = atomic_exchange(&expected, 0);
	if (sig != own)
		die("a signal that nobody sent", sig);
	if (info && (info->si_signo != sig || info->si_pid != getpid()))
		die("its sender", info->si_pid);
	atomic_fetch_add(&received, 1);
}

static void wait_once(int turn, const sigset_t *set)
{
	siginfo_t info;
	int sig = 0;
	if (turn == 0) {
		if ((errno = sigwait(set, &sig)) != 0)
			die("sigwait", sig);
		arrived(sig, NULL);
	} else if (turn == 1) {
		if ((sig = sigwaitinfo(set, &info)) < 0)
			die("sigwaitinfo", sig);
		arrived(sig, &info);
	} else {
		struct timespec t = {0, 20 * MS};
		int64_t from = now_ns(CLOCK_MONOTONIC);
		if ((sig = sigtimedwait(set, &info, &t)) >= 0)
			arrived(sig, &info);
		else if (errno != EAGAIN || now_ns(CLOCK_MONOTONIC) - from < 20 * MS)
			die("sigtimedwait", sig);
	}
}

static void *signal_thread(void *arg)
{
	sigset_t sets[2];
	sigfillset(&sets[0]);
	memset(&sets[1], 0xff, sizeof sets[1]);
	pthread_setname_np(pthread_self(), "signals");
	for (int turn = 0; !atomic_load(&stop) || atomic_load(&expected); turn++) {
		wait_once(turn % 3, &sets[turn / 3 % 2]);
		burn_here(200000);
	}
	return arg;
}

/* Burns and sleeps, every signal blocked. */
static void *work(void *arg)
{
	if (arg) { /* past libc, which would leave out two */
		uint64_t all = ~(uint64_t)0;
		syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all);
		pthread_setname_np(pthread_self(), "raw-mask");
	} else {
		pthread_setname_np(pthread_self(), "all-blocked");
	}
	while (!atomic_load(&stop)) {
		burn_here(2 * MS);
		if (usleep(2000) != 0)
			die("usleep", errno);
	}
	return arg;
}

static void send_one(int turn)
{
	int sig = turn % 4 == 2 ? SIGRTMIN + 3 : turn % 4 == 3 ? SIGTERM : SIGUSR1;
	union sigval value = {.sival_int = turn};
	atomic_store(&expected, sig);
	atomic_fetch_add(&sent, 1);
	int r;
	do /* the limit of pending signals is the user's: other processes may have reached it */
		r = turn % 2        ? (kill(getpid(), sig) ? errno : 0)
		    : turn % 8 == 2 ? pthread_sigqueue(waiting, sig, value)
		                    : pthread_kill(waiting, sig);
	while (r == EAGAIN);
	if (r != 0)
		die("sending", r);
	for (int64_t from = now_ns(CLOCK_MONOTONIC); atomic_load(&expected);) {
		if (now_ns(CLOCK_MONOTONIC) - from > 120 * SECOND)
			die("a signal that never came", sig);
		if (usleep(1000) != 0)
			die("usleep", errno);
	}
}

int main(int argc, char **argv)
{
	int64_t until = now_ns(CLOCK_MONOTONIC) + (argc > 1 ? atoi(argv[1]) : 5) * SECOND;
	pthread_t t[4];
	sigset_t all;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	pthread_create(&waiting, NULL, signal_thread, NULL);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, work, i == 0 ? &stop : NULL);
	puts("ready 1");
	fflush(stdout);
	for (int turn = 0; now_ns(CLOCK_MONOTONIC) < until; turn++)
		send_one(turn);
	atomic_store(&stop, 1);
	/* The signal thread may sit in a call without a time-out. */
	atomic_store(&expected, SIGUSR2);
	atomic_fetch_add(&sent, 1);
	pthread_kill(waiting, SIGUSR2);
	pthread_join(waiting, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	if (received != sent)
		die("received in all", (int)received);
	printf("sent %ld\nreceived %ld\nworked %d\nend 1\n", (long)sent, (long)received, sent > 50);
	return 0;
}
