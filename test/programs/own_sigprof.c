/* own_sigprof.c - a program with a SIGPROF handler and an ITIMER_PROF of its own, and what it does to SIGPROF besides.
 *
 * own_sigprof [SECONDS]
 * Runs in: a test program. Two threads burn CPU all the time; the phases are: an own timer and handler; SIG_IGN with
 * the timer running; SIG_DFL without a timer; signals raised and counted. Truth, at the end: `ticks N` and `cpu_us N`
 * of the first phase (a tick is due every 10 ms of the process), `raised N`, `handled N`, `sigaction_kept 1`,
 * `itimer_kept 1`, `end 1`. `phase N` is told as each begins.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

#include "clocks.h"
#include "truth.h"

static atomic_bool stop;
static atomic_long ticks, handled, foreign;

static void on_prof(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	if (info->si_code == SI_KERNEL)
		atomic_fetch_add(&ticks, 1);
	else if (info->si_code == SI_TKILL && info->si_pid == getpid())
		atomic_fetch_add(&handled, 1);
	else
		atomic_fetch_add(&foreign, 1);
}

static void *burn(void *arg)
{
	while (!atomic_load(&stop))
		spin(1000000);
	return arg;
}

static void set_timer(long us)
{
	struct itimerval t = {{0, us}, {0, us}};
	setitimer(ITIMER_PROF, &t, NULL);
}

static void phase(int n)
{
	printf("phase %d\n", n);
	fflush(stdout);
}

/* SA_RESTART does not help a sleep; so the ticks may cut it, and it goes on. */
static void pass(int64_t ns)
{
	struct timespec until = timespec_of(now_ns(CLOCK_MONOTONIC) + ns);
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
		;
}

static int same_handler(void)
{
	struct sigaction now;
	return sigaction(SIGPROF, NULL, &now) == 0 && now.sa_sigaction == on_prof && (now.sa_flags & SA_SIGINFO) &&
	       sigismember(&now.sa_mask, SIGUSR2) == 1;
}

static int same_timer(long us)
{
	struct itimerval now;
	return getitimer(ITIMER_PROF, &now) == 0 && now.it_interval.tv_sec == 0 && now.it_interval.tv_usec == us;
}

int main(int argc, char **argv)
{
	int64_t quarter = (argc > 1 ? atoi(argv[1]) : 4) * SECOND / 4;
	struct sigaction own = {.sa_sigaction = on_prof, .sa_flags = SA_SIGINFO | SA_RESTART};
	int kept = 1, timer_kept = 1;
	pthread_t t[2];
	sigemptyset(&own.sa_mask);
	sigaddset(&own.sa_mask, SIGUSR2);
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, burn, NULL);
	puts("ready 1");
	fflush(stdout);

	phase(1);
	sigaction(SIGPROF, &own, NULL);
	int64_t from = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	set_timer(10000);
	pass(quarter * 2);
	kept &= same_handler();
	timer_kept &= same_timer(10000);
	int64_t took = now_ns(CLOCK_PROCESS_CPUTIME_ID) - from;
	long in_phase = atomic_load(&ticks);

	phase(2);
	signal(SIGPROF, SIG_IGN);
	pass(quarter / 2);
	timer_kept &= same_timer(10000);

	phase(3);
	set_timer(0);
	signal(SIGPROF, SIG_DFL);
	pass(quarter / 2);

	phase(4);
	sigaction(SIGPROF, &own, NULL);
	long raised = 0;
	for (int64_t until = now_ns(CLOCK_MONOTONIC) + quarter; now_ns(CLOCK_MONOTONIC) < until; raised++) {
		raise(SIGPROF);
		pass(MS);
	}
	kept &= same_handler();
	timer_kept &= same_timer(0);

	atomic_store(&stop, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	printf("ticks %ld\ncpu_us %lld\nraised %ld\nhandled %ld\nforeign %ld\nsigaction_kept %d\nitimer_kept %d\nend "
	       "1\n",
	       in_phase, (long long)took / 1000, raised, (long)handled, (long)foreign, kept, timer_kept);
	return 0;
}
