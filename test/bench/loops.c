/* loops.c - the loops that bench/run.py measures, one a word on the command line.
 *
 * loops pair N           malloc(64) and free, N times
 * loops calloc N         calloc(1, 64) and free
 * loops set BLOCKS MEAN OPS THREADS    replace random blocks of a working set
 * loops deep FRAMES N SIZE    at the end of FRAMES frames, malloc(SIZE) and free, N times; prints `ns_each`
 * loops fork N           fork, child ends at once, wait; prints `cpu_ns`, the children's included
 * loops spawn N PROGRAM  start PROGRAM N times and wait; prints `cpu_ns`, of the children alone
 * loops idle             waits for the end of stdin
 * loops poll N           poll of a pipe that is ready; poll0: of one that is not, without waiting
 * loops transfer N       write and read of one byte through a pipe
 * loops sem N            sem_post and sem_wait
 * loops cond N           pthread_cond_timedwait until a time that is over
 * loops mutex N [MORE]   lock and unlock; MORE other threads sleep meanwhile; rdlock, wrlock: of a read-write lock;
 * recursive. All of these print `ns_each`, of a call loops contend THREADS N    so many threads take turns at one
 * mutex, N times each; prints `wall_ns` loops readers THREADS N    one of them writes and the others read under a
 * read-write lock; prints `wall_ns` loops pingpong N       two threads on one processor wake each other by
 * pthread_cond_signal loops watch THREADS    so many threads wait, and one spins; at each line on stdin: `gap_ns N`,
 * for how long it stood still at most since the line before, without having been taken off its processor
 *
 * Runs in: a measured program. Nothing but the loop allocates meanwhile.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pair(long n)
{
	for (long i = 0; i < n; i++) {
		void *p = malloc(64);
		KEEP(p);
		free(p);
	}
}

static void calloc_pair(long n)
{
	for (long i = 0; i < n; i++) {
		void *p = calloc(1, 64);
		KEEP(p);
		free(p);
	}
}

static size_t set_blocks, set_mean;
static long set_ops;

/* Sizes are uniform with the given mean; the generator is the same at each run. */
static void *working_set(void *arg)
{
	uint64_t x = 88172645463325252u + (uintptr_t)arg;
	void **blocks = malloc(set_blocks * sizeof *blocks);
	if (!blocks)
		abort();
	memset(blocks, 0, set_blocks * sizeof *blocks);
	for (long i = 0; i < set_ops; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		size_t at = i < (long)set_blocks ? (size_t)i : (x >> 20) % set_blocks;
		free(blocks[at]);
		blocks[at] = malloc(16 + (x >> 40) % (2 * set_mean - 31));
	}
	for (size_t i = 0; i < set_blocks; i++)
		free(blocks[i]);
	free(blocks);
	return NULL;
}

static void sets(int threads)
{
	pthread_t t[64];
	if (threads == 1) {
		working_set(NULL);
		return;
	}
	for (int i = 0; i < threads && i < 64; i++)
		pthread_create(&t[i], NULL, working_set, (void *)(uintptr_t)(i * 7919));
	for (int i = 0; i < threads && i < 64; i++)
		pthread_join(t[i], NULL);
}

NOINLINE static long descend(long frames, long n, size_t size)
{
	if (frames > 1) {
		long r = descend(frames - 1, n, size) + 1;
		KEEP(r);
		return r;
	}
	for (long i = 0; i < n; i++) {
		void *p = malloc(size);
		KEEP(p);
		free(p);
	}
	return 0;
}

static void deep(long frames, long n, size_t size)
{
	KEEP(descend(frames, n / 10, size)); /* caches warm */
	uint64_t best = UINT64_MAX;
	for (int round = 0; round < 5; round++) {
		uint64_t from = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		KEEP(descend(frames, n, size));
		uint64_t took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - from;
		if (took < best)
			best = took;
	}
	printf("ns_each %.2f\n", (double)best / (double)n);
}

static double rusage_ns(int who)
{
	struct rusage r;
	getrusage(who, &r);
	return ((double)r.ru_utime.tv_sec + (double)r.ru_stime.tv_sec) * 1e9 +
	       ((double)r.ru_utime.tv_usec + (double)r.ru_stime.tv_usec) * 1e3;
}

static void forks(long n)
{
	for (long i = 0; i < n; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		int status;
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			abort();
	}
	printf("cpu_ns %.0f\n", rusage_ns(RUSAGE_SELF) + rusage_ns(RUSAGE_CHILDREN));
}

extern char **environ;

static void spawns(long n, char *program)
{
	char *argv[] = {program, NULL};
	for (long i = 0; i < n; i++) {
		pid_t pid;
		int status;
		if (posix_spawn(&pid, program, NULL, NULL, argv, environ) != 0 || waitpid(pid, &status, 0) != pid)
			abort();
	}
	printf("cpu_ns %.0f\n", rusage_ns(RUSAGE_CHILDREN));
}

/* ---- calls that may block, and here do not ---- */

static int pipe_fd[2];
static sem_t sem;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

static void one_poll(void)
{
	struct pollfd p = {.fd = pipe_fd[0], .events = POLLIN};
	if (poll(&p, 1, -1) != 1)
		abort();
}

static void one_poll0(void)
{
	struct pollfd p = {.fd = pipe_fd[0], .events = POLLIN};
	if (poll(&p, 1, 0) != 0)
		abort();
}

static void one_transfer(void)
{
	char c = 0;
	if (write(pipe_fd[1], &c, 1) != 1 || read(pipe_fd[0], &c, 1) != 1)
		abort();
}

static void one_sem(void)
{
	sem_post(&sem);
	sem_wait(&sem);
}

static void one_cond(void)
{
	static const struct timespec over = {-1, 0};
	pthread_cond_timedwait(&cond, &mutex, &over);
}

static void one_mutex(void)
{
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static void one_rdlock(void)
{
	pthread_rwlock_rdlock(&rwlock);
	pthread_rwlock_unlock(&rwlock);
}

static void one_wrlock(void)
{
	pthread_rwlock_wrlock(&rwlock);
	pthread_rwlock_unlock(&rwlock);
}

static void one_recursive(void)
{
	pthread_mutex_lock(&recursive);
	pthread_mutex_unlock(&recursive);
}

/* The best of five: what the call costs when nothing else disturbs it. `calls` are made at each turn. */
static void turns(void (*one)(void), int calls, long n)
{
	double best = 1e18;
	for (int round = 0; round < 5; round++) {
		uint64_t from = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		for (long i = 0; i < n / 5; i++)
			one();
		double each = (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - from) / (double)(n / 5) / calls;
		if (each < best)
			best = each;
	}
	printf("ns_each %.2f\n", best);
}

static void *sleep_on(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static int calls(const char *what, long n, long more)
{
	static const struct {
		const char *name;
		void (*one)(void);
		int calls;
	} known[] = {{"poll", one_poll, 1},     {"poll0", one_poll0, 1},   {"transfer", one_transfer, 2},
	             {"sem", one_sem, 2},       {"cond", one_cond, 1},     {"mutex", one_mutex, 2},
	             {"rdlock", one_rdlock, 2}, {"wrlock", one_wrlock, 2}, {"recursive", one_recursive, 2}};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (strcmp(what, known[i].name) != 0)
			continue;
		pthread_t t;
		if (pipe(pipe_fd) != 0 || sem_init(&sem, 0, 0) != 0)
			abort();
		for (; more > 0; more--)
			pthread_create(&t, NULL, sleep_on, NULL);
		if (known[i].one == one_poll && write(pipe_fd[1], "x", 1) != 1)
			abort();
		if (known[i].one == one_cond)
			pthread_mutex_lock(&mutex);
		turns(known[i].one, known[i].calls, n);
		return 1;
	}
	return 0;
}

static long turn_of, ping_count;

static void *ping(void *arg)
{
	long me = (long)arg;
	pthread_mutex_lock(&mutex);
	for (long i = 0; i < ping_count; i++) {
		while (turn_of != me)
			pthread_cond_wait(&cond, &mutex);
		turn_of = !me;
		pthread_cond_signal(&cond);
	}
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static void pingpong(long n)
{
	cpu_set_t one;
	pthread_t t[2];
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof one, &one);
	ping_count = n;
	for (long i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, ping, (void *)i);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
}

/* ---- locks that threads wait for ---- */

static long contend_turns;
static volatile long guarded;

static void work_a_little(int steps)
{
	for (int i = 0; i < steps; i++)
		__asm__ volatile("");
}

static void *contend(void *arg)
{
	for (long i = 0; i < contend_turns; i++) {
		pthread_mutex_lock(&mutex);
		guarded++;
		work_a_little(200);
		pthread_mutex_unlock(&mutex);
		work_a_little(200);
	}
	return arg;
}

static void *read_or_write(void *arg)
{
	for (long i = 0; i < contend_turns; i++) {
		arg ? pthread_rwlock_rdlock(&rwlock) : pthread_rwlock_wrlock(&rwlock);
		guarded += !arg;
		work_a_little(200);
		pthread_rwlock_unlock(&rwlock);
		work_a_little(arg ? 200 : 2000);
	}
	return arg;
}

static void contended(void *(*work)(void *), long threads, long n)
{
	pthread_t t[64];
	contend_turns = n;
	uint64_t from = clock_ns(CLOCK_MONOTONIC);
	for (long i = 0; i < threads && i < 64; i++)
		pthread_create(&t[i], NULL, work, (void *)i);
	for (long i = 0; i < threads && i < 64; i++)
		pthread_join(t[i], NULL);
	printf("wall_ns %llu\n", (unsigned long long)(clock_ns(CLOCK_MONOTONIC) - from));
}

/* ---- a thread that notices when it stands still ---- */

static uint64_t longest_gap_ns;

static long switches(void)
{
	struct rusage r;
	getrusage(RUSAGE_THREAD, &r);
	return r.ru_nvcsw + r.ru_nivcsw;
}

static void *notice_gaps(void *arg)
{
	long switched = switches();
	uint64_t last = clock_ns(CLOCK_MONOTONIC);
	for (;;) {
		uint64_t now = clock_ns(CLOCK_MONOTONIC);
		if (now - last > 2000) {
			long s = switches();
			if (s == switched && now - last > __atomic_load_n(&longest_gap_ns, __ATOMIC_RELAXED))
				__atomic_store_n(&longest_gap_ns, now - last, __ATOMIC_RELAXED);
			switched = s;
			now = clock_ns(CLOCK_MONOTONIC);
		}
		last = now;
	}
	return arg;
}

static void *wait_in_cond(void *arg)
{
	pthread_mutex_lock(&mutex);
	for (;;)
		pthread_cond_wait(&cond, &mutex);
	return arg;
}

static void *wait_in_read(void *arg)
{
	char c;
	while (read(pipe_fd[0], &c, 1) < 0)
		;
	return arg;
}

static void watch(long threads)
{
	char line[64];
	pthread_t t;
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 64 << 10);
	if (pipe(pipe_fd) != 0)
		abort();
	for (long i = 0; i < threads; i++)
		if (pthread_create(&t, &a, i % 2 ? wait_in_cond : wait_in_read, NULL) != 0)
			abort();
	pthread_create(&t, &a, notice_gaps, NULL);
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		printf("gap_ns %llu\n", (unsigned long long)__atomic_exchange_n(&longest_gap_ns, 0, __ATOMIC_RELAXED));
		fflush(stdout);
	}
	_exit(0);
}

static long number(int argc, char **argv, int i)
{
	return i < argc ? atol(argv[i]) : 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (strcmp(what, "pair") == 0) {
		pair(number(argc, argv, 2));
	} else if (strcmp(what, "calloc") == 0) {
		calloc_pair(number(argc, argv, 2));
	} else if (strcmp(what, "set") == 0) {
		set_blocks = (size_t)number(argc, argv, 2);
		set_mean = (size_t)number(argc, argv, 3);
		set_ops = number(argc, argv, 4);
		sets((int)number(argc, argv, 5));
	} else if (strcmp(what, "deep") == 0) {
		deep(number(argc, argv, 2), number(argc, argv, 3), (size_t)number(argc, argv, 4));
	} else if (strcmp(what, "fork") == 0) {
		forks(number(argc, argv, 2));
	} else if (strcmp(what, "spawn") == 0 && argc > 3) {
		spawns(number(argc, argv, 2), argv[3]);
	} else if (strcmp(what, "idle") == 0) {
		char c;
		puts("ready");
		fflush(stdout);
		while (read(0, &c, 1) > 0)
			;
	} else if (strcmp(what, "pingpong") == 0) {
		pingpong(number(argc, argv, 2));
	} else if (strcmp(what, "contend") == 0) {
		contended(contend, number(argc, argv, 2), number(argc, argv, 3));
	} else if (strcmp(what, "readers") == 0) {
		contended(read_or_write, number(argc, argv, 2), number(argc, argv, 3));
	} else if (strcmp(what, "watch") == 0) {
		watch(number(argc, argv, 2));
	} else if (!calls(what, number(argc, argv, 2), number(argc, argv, 3))) {
		fprintf(stderr, "loops: not known: '%s'\n", what);
		return 2;
	}
	return 0;
}
