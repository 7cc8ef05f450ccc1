/* cpu_truth.c - functions that burn 70, 20 and 10 % of the CPU, in four named threads of unequal load.
 *
 * cpu_truth [PERCENT]      of one processor that all threads take together (default 150)
 * Runs in: a test program. At each line on stdin it tells the truth so far: `cpu_seventy STEPS`, `cpu_twenty STEPS`,
 * `cpu_ten STEPS` of work, all alike; `load_forty NS` ... of the threads' own CPU clocks, `rusage NS` of the process,
 * `wall NS`, and closes with `mark K`. Ends with stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <sys/resource.h>

#include "clocks.h"
#include "truth.h"

enum { FUNCTIONS = 3, THREADS = 4 };

static struct load {
	const char *name;
	int share;
	pthread_t thread;
} loads[THREADS] = {{.name = "load_forty", .share = 40},
                    {.name = "load_thirty", .share = 30},
                    {.name = "load_twenty", .share = 20},
                    {.name = "load_ten", .share = 10}};

static atomic_llong burnt[FUNCTIONS];
static int percent = 150;

#define BURN(of) \
	spin(steps); \
	atomic_fetch_add(&burnt[of], steps)

SITE static void cpu_seventy(long steps)
{
	BURN(0);
}
SITE static void cpu_twenty(long steps)
{
	BURN(1);
}
SITE static void cpu_ten(long steps)
{
	BURN(2);
}

/* What is left of a part, `skip` steps having been passed over before it. */
static long rest(long part, long *skip)
{
	long cut = part < *skip ? part : *skip;
	*skip -= cut;
	return part - cut;
}

/* Slices far shorter than a tick, of random length, so that no tick keeps step with them; and as on a busy machine a
 * burst begins at a tick and may end before the next, the first ones begin anywhere. */
SITE static void slices(uint64_t *random, int64_t ns)
{
	long skip = -1, steps = steps_of(ns);
	while (steps > 0) {
		long unit = steps_of(50000 + (int64_t)(next_random(random) % 100000));
		if (skip < 0)
			skip = (long)(next_random(random) % (uint64_t)(10 * unit));
		steps -= 10 * unit - skip;
		cpu_seventy(rest(7 * unit, &skip));
		cpu_twenty(rest(2 * unit, &skip));
		cpu_ten(rest(unit, &skip));
	}
}

static void *work(void *arg)
{
	struct load *l = arg;
	uint64_t random = 88172645463325252u + (uint64_t)l->share;
	pthread_setname_np(pthread_self(), l->name);
	for (;;) {
		int64_t from = now_ns(CLOCK_MONOTONIC);
		int64_t burst = 5 * MS + (int64_t)(next_random(&random) % (10 * MS));
		slices(&random, burst);
		struct timespec until = timespec_of(from + burst * 10000 / (percent * l->share));
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	}
	return NULL;
}

static long long rusage_ns(void)
{
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * SECOND + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000LL;
}

static void tell(int mark)
{
	static const char *const names[FUNCTIONS] = {"cpu_seventy", "cpu_twenty", "cpu_ten"};
	for (int i = 0; i < THREADS; i++) {
		clockid_t clock;
		pthread_getcpuclockid(loads[i].thread, &clock);
		printf("%s %lld\n", loads[i].name, (long long)now_ns(clock));
	}
	for (int i = 0; i < FUNCTIONS; i++)
		printf("%s %lld\n", names[i], (long long)atomic_load(&burnt[i]));
	printf("rusage %lld\nwall %lld\nmark %d\n", rusage_ns(), (long long)now_ns(CLOCK_MONOTONIC), mark);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char line[64];
	if (argc > 1)
		percent = atoi(argv[1]);
	steps_of(0);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&loads[i].thread, NULL, work, &loads[i]);
	puts("ready 1");
	fflush(stdout);
	for (int mark = 1; fgets(line, sizeof line, stdin); mark++)
		tell(mark);
	fflush(stdout);
	_exit(0);
}
