/* handler_storm SECONDS [single]: signal handlers that call whatever they may, landing in everything that launches or
 * locks.
 *
 * Eight threads make children in every way that there is; seven more are in malloc, stdio, dlopen, getaddrinfo,
 * syslog, localtime and setenv meanwhile; one sends signals to all of them, whose handlers write, post, poll, open,
 * make children. "single": the same one after the other in a process of one thread, whose handlers and children may
 * do more (libc's fork takes libc's locks where there are threads).
 *
 * A process of its own looks at how far each has got. Says "clean" and ends with 0; or says who did not move for 10
 * s, and 9.
 *
 * Runs in: the tests, and by hand.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum { STALL_SECONDS = 10, SIGNALS_EVERY_US = 150, LINES = 40 };

extern char **environ;

static int null_fd;
static sem_t sem;
static int is_single;
static char plugin[4096], lines_path[] = "/tmp/handler-storm-XXXXXX";
static char *const true_argv[] = {"true", NULL};

static unsigned next_random(unsigned *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 8;
}

static void await(pid_t pid)
{
	int status;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
}

static void check(int holds, const char *what)
{
	if (holds)
		return;
	dprintf(2, "handler_storm: %s failed: %s\n", what, strerror(errno));
	abort();
}

static void churn(unsigned seed, int rounds)
{
	void *block[32] = {0};
	for (int i = 0; i < rounds; i++) {
		unsigned at = next_random(&seed) % 32;
		free(block[at]);
		block[at] = malloc(next_random(&seed) % 20000 + 1);
	}
	for (int i = 0; i < 32; i++)
		free(block[i]);
}

/* ---- what handlers do ---- */

static void h_write(void)
{
	check(write(null_fd, "x", 1) == 1, "write");
}

static void h_post(void)
{
	sem_post(&sem);
	sem_trywait(&sem);
}

static void h_poll(void)
{
	struct pollfd p = {.fd = null_fd, .events = POLLOUT};
	poll(&p, 1, 0);
}

static void h_open(void)
{
	int fd = open("/dev/null", O_RDONLY);
	char c;
	check(fd >= 0 && read(fd, &c, 1) == 0, "open");
	close(fd);
}

static void h_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (fd >= 0)
		close(fd);
}

static void h_sleep(void)
{
	struct timespec t = {0, 1000};
	nanosleep(&t, NULL);
}

static void h_mask(void)
{
	sigset_t set;
	struct sigaction now;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGUSR2, NULL, &now);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void h_child(void)
{
	pid_t pid = is_single ? fork() : _Fork(); /* with threads, fork may wait for the malloc that was interrupted */
	if (pid == 0) {
		h_write();
		h_post();
		_exit(0);
	}
	await(pid);
}

static void h_spawnlike(void)
{
	pid_t pid = vfork();
	if (pid == 0)
		_exit(0);
	await(pid);
}

static void (*const of_handlers[])(void) = {
	h_write, h_post, h_poll, h_open, h_socket, h_sleep, h_mask, h_child, h_spawnlike,
};

static void on_signal(int sig)
{
	static unsigned seed; /* shared, and racy: it is random anyway */
	int saved = errno;
	(void)sig;
	of_handlers[next_random(&seed) % (sizeof of_handlers / sizeof *of_handlers)]();
	errno = saved;
}

/* ---- what threads do ---- */

static void by_fork(unsigned seed)
{
	pid_t pid = fork();
	if (pid == 0) {
		churn(seed, 100);
		h_post();
		_exit(0);
	}
	await(pid);
}

static void by_fork_and_exec(unsigned seed)
{
	pid_t pid = fork();
	if (pid == 0) {
		churn(seed, 3);
		execv("/bin/true", true_argv);
		_exit(1);
	}
	await(pid);
}

static void by_popen(unsigned seed)
{
	char line[64];
	FILE *f = popen("echo hello", "r");
	(void)seed;
	check(f != NULL, "popen");
	while (fgets(line, sizeof line, f))
		continue;
	pclose(f);
}

static void by_system(unsigned seed)
{
	(void)seed;
	check(system("true") != -1, "system");
}

static void by_spawn(unsigned seed)
{
	pid_t pid;
	(void)seed;
	if (posix_spawn(&pid, "/bin/true", NULL, NULL, true_argv, environ) == 0)
		await(pid);
}

static void by_vfork(unsigned seed)
{
	(void)seed;
	pid_t pid = vfork();
	if (pid == 0) {
		execv("/bin/true", true_argv);
		_exit(1);
	}
	await(pid);
}

static void by_own_fork(unsigned seed)
{
	pid_t pid = _Fork();
	if (pid == 0) {
		h_write();
		if (is_single)
			churn(seed, 200);
		_exit(0);
	}
	await(pid);
}

static void by_clone(unsigned seed)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		h_write();
		h_poll();
		if (is_single)
			churn(seed, 200);
		_exit(0);
	}
	await(pid);
}

static void in_malloc(unsigned seed)
{
	churn(seed, 2000);
}

static void in_getline(unsigned seed)
{
	FILE *f = fopen(lines_path, "r");
	(void)seed;
	check(f != NULL, "fopen");
	for (;;) {
		char *line = NULL;
		size_t n = 0;
		ssize_t got = getline(&line, &n, f);
		free(line);
		if (got < 0)
			break;
	}
	fclose(f);
}

static void in_flush(unsigned seed)
{
	(void)seed;
	fflush(NULL);
}

static void in_dlopen(unsigned seed)
{
	void *handle = dlopen(plugin, seed % 2 ? RTLD_NOW : RTLD_LAZY);
	check(handle != NULL, "dlopen");
	dlclose(handle);
}

static void in_getaddrinfo(unsigned seed)
{
	struct addrinfo *list = NULL, hints = {.ai_socktype = SOCK_STREAM};
	(void)seed;
	if (getaddrinfo("localhost", "80", &hints, &list) == 0)
		freeaddrinfo(list);
}

static void in_syslog(unsigned seed)
{
	syslog(LOG_DEBUG, "%u", seed);
}

static void in_localtime(unsigned seed)
{
	char text[64];
	time_t now = time(NULL) + seed % 100000;
	struct tm tm;
	setenv("HANDLER_STORM", seed % 2 ? "one" : "two", 1); /* it is there: the list does not move */
	if (localtime_r(&now, &tm))
		strftime(text, sizeof text, "%c %Z", &tm);
}

/* Libc's fork leaves the loader's lock to the child as it was: with threads that open libraries, exit would wait for
 * it. */
static void by_exit(unsigned seed)
{
	pid_t pid = fork();
	if (pid == 0) {
		churn(seed, 20);
		exit(0);
	}
	await(pid);
}

static const struct job {
	const char *name;
	void (*turn)(unsigned seed);
	int alone; /* in a process of one thread only */
} jobs[] = {
	{"fork", by_fork, 0},
	{"fork and exec", by_fork_and_exec, 0},
	{"popen", by_popen, 0},
	{"system", by_system, 0},
	{"posix_spawn", by_spawn, 0},
	{"vfork", by_vfork, 0},
	{"_Fork", by_own_fork, 0},
	{"clone", by_clone, 0},
	{"malloc", in_malloc, 0},
	{"getline", in_getline, 0},
	{"fflush", in_flush, 0},
	{"dlopen", in_dlopen, 0},
	{"getaddrinfo", in_getaddrinfo, 0},
	{"syslog", in_syslog, 0},
	{"localtime", in_localtime, 0},
	{"exit", by_exit, 1},
};
enum { JOBS = sizeof jobs / sizeof *jobs };

/* Shared with who watches. */
static struct {
	long turns[JOBS];
	int stop;
} * shared;

static int is_stopped(void)
{
	return __atomic_load_n(&shared->stop, __ATOMIC_RELAXED);
}

static void turn(int job, unsigned *seed)
{
	jobs[job].turn(next_random(seed));
	__atomic_fetch_add(&shared->turns[job], 1, __ATOMIC_RELAXED);
}

static void *run(void *arg)
{
	int job = (int)(intptr_t)arg;
	unsigned seed = (unsigned)job * 7919 + (unsigned)getpid();
	while (!is_stopped())
		turn(job, &seed);
	return NULL;
}

/* ---- the storm ---- */

static void work_with_threads(void)
{
	pthread_t thread[JOBS];
	unsigned seed = (unsigned)getpid();
	int count = 0;
	for (int i = 0; i < JOBS; i++)
		if (!jobs[i].alone && pthread_create(&thread[count], NULL, run, (void *)(intptr_t)i) == 0)
			count++;
	while (!is_stopped()) {
		struct timespec step = {0, SIGNALS_EVERY_US * 1000};
		nanosleep(&step, NULL);
		pthread_kill(thread[next_random(&seed) % (unsigned)count], SIGUSR1);
	}
	for (int i = 0; i < count; i++)
		pthread_join(thread[i], NULL);
}

static void work_alone(void)
{
	unsigned seed = (unsigned)getpid();
	struct itimerval often = {{0, 700}, {0, 700}}, never = {{0}};
	signal(SIGALRM, SIG_DFL);
	sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_RESTART}, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	while (!is_stopped())
		turn((int)(next_random(&seed) % JOBS), &seed);
	setitimer(ITIMER_REAL, &never, NULL);
}

static void work(void)
{
	sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_RESTART}, NULL);
	setenv("HANDLER_STORM", "one", 1);
	if (is_single)
		work_alone();
	else
		work_with_threads();
	exit(0);
}

static void prepare(const char *program)
{
	char path[sizeof plugin - 32];
	FILE *f = fdopen(mkstemp(lines_path), "w");
	check(f != NULL, "mkstemp");
	for (int i = 1; i < LINES; i++)
		fprintf(f, "%*d\n", i * 400, i);
	fclose(f);
	snprintf(path, sizeof path, "%s", program);
	snprintf(plugin, sizeof plugin, "%s/libplugin.so", dirname(path));
	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	sem_init(&sem, 0, 0);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(shared != MAP_FAILED, "mmap");
}

/* The first job that has not moved since `before`; negative: all have, or are not at work. */
static int find_stalled(long before[JOBS])
{
	int stalled = -1;
	for (int i = 0; i < JOBS; i++) {
		long now = __atomic_load_n(&shared->turns[i], __ATOMIC_RELAXED);
		if (now == before[i] && !is_single && !jobs[i].alone && stalled < 0)
			stalled = i;
		if (now != before[i] && is_single)
			stalled = -2;
		before[i] = now;
	}
	return is_single && stalled == -1 ? 0 : stalled;
}

static double now_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Wait for so long, by the clock: on a busy machine each sleep is longer than it says. True: it has ended meanwhile. */
static int has_ended_in(pid_t worker, double seconds, int *status)
{
	for (double until = now_seconds() + seconds; now_seconds() < until; usleep(50000))
		if (waitpid(worker, status, WNOHANG) == worker)
			return 1;
	return 0;
}

static int watch(pid_t worker, int seconds)
{
	long before[JOBS] = {0};
	int status;
	for (int left = seconds; left > 0; left -= STALL_SECONDS) {
		int at_once = left < STALL_SECONDS ? left : STALL_SECONDS;
		if (has_ended_in(worker, at_once, &status)) {
			printf("the worker ended with %#x\n", (unsigned)status);
			return 8;
		}
		int stalled = at_once == STALL_SECONDS ? find_stalled(before) : -1;
		if (stalled >= 0) {
			const char *who = is_single ? "the process" : jobs[stalled].name;
			printf("%s has not moved for %d s\n", who, STALL_SECONDS);
			return 9;
		}
	}
	__atomic_store_n(&shared->stop, 1, __ATOMIC_RELAXED);
	if (has_ended_in(worker, 3 * STALL_SECONDS, &status)) {
		printf(status ? "the worker ended with %#x\n" : "clean\n", (unsigned)status);
		return status ? 8 : 0;
	}
	printf("the worker does not end\n");
	return 9;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 10;
	is_single = argc > 2 && strcmp(argv[2], "single") == 0;
	prepare(argv[0]);
	pid_t worker = fork();
	if (worker == 0) {
		setpgid(0, 0);
		work();
	}
	int r = watch(worker, seconds);
	for (int i = 0; i < JOBS; i++)
		printf("%s%s %ld", i ? ", " : "", jobs[i].name, shared->turns[i]);
	puts("");
	if (r && getenv("KEEP"))
		pause();
	kill(-worker, SIGKILL);
	unlink(lines_path);
	return r;
}
