/* pending_limit.c - reach the limit of pending signals, and say where it was.
 *
 * pending_limit HOW       HOW: queue, timers, kill, syscall, setuid
 * Runs in: a test program started by root: it takes a user id of its own, so that nobody else's signals count, and
 * keeps the right to change it. 10 threads burn CPU, RLIMIT_SIGPENDING is 60. It says `ready 1`, waits for a line, and
 * then tells, for queue    `reached N`: how often sigqueue succeeds before EAGAIN; five times syscall  the same by
 * syscall(SYS_rt_sigqueueinfo) timers   `reached N`: timers that can be made kill     `carried N`: real-time signals by
 * kill, while the limit is not reached, that come one by one setuid   20 times: queues signals up to 3 below the limit,
 * or to where it is reached, and changes the user of all threads, which needs room for one; `wrong N`: threads that
 * were left behind and `end 1`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "clocks.h"
#include "truth.h"

enum { THREADS = 10, LIMIT = 60, ROOM = 3 };

static atomic_bool stop;
static atomic_int tids[THREADS];
static sigset_t own;

static void *burn(void *arg)
{
	atomic_store((atomic_int *)arg, (int)syscall(SYS_gettid));
	while (!atomic_load(&stop))
		spin(1000000);
	return arg;
}

static void keep_right_to_change_user(uid_t uid)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {{.effective = 1 << CAP_SETUID, .permitted = 1 << CAP_SETUID}, {0}};
	prctl(PR_SET_KEEPCAPS, 1);
	if (setresuid(uid, uid, uid) != 0 || syscall(SYS_capset, &head, caps) != 0)
		exit(3);
	prctl(PR_SET_DUMPABLE, 1);
}

static int queue_one(int i, int by_syscall)
{
	siginfo_t info = {.si_signo = SIGRTMIN + 1, .si_code = SI_QUEUE, .si_pid = getpid(), .si_uid = getuid()};
	info.si_value.sival_int = i;
	return by_syscall ? (int)syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN + 1, &info)
	                  : sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i});
}

static int take_all(void)
{
	struct timespec none = {0};
	int n = 0;
	while (sigtimedwait(&own, NULL, &none) > 0)
		n++;
	return n;
}

static void queue(int by_syscall)
{
	for (int round = 0; round < 5; round++) {
		int n = 0;
		while (queue_one(n, by_syscall) == 0)
			n++;
		printf("reached %d\n", errno == EAGAIN && take_all() == n ? n : -1);
		usleep(150000);
	}
}

static void timers(void)
{
	struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1};
	timer_t t[2 * LIMIT];
	int n = 0;
	while (n < 2 * LIMIT && timer_create(CLOCK_MONOTONIC, &e, &t[n]) == 0)
		n++;
	printf("reached %d\n", n);
	while (n > 0)
		timer_delete(t[--n]);
}

static void kill_often(void)
{
	for (int i = 0; i < LIMIT; i++)
		kill(getpid(), SIGRTMIN + 1);
	printf("carried %d\n", take_all());
}

/* Entries in use; "SigQ:\t12/60". */
static int used(void)
{
	char line[200];
	int n = -1;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof line, f))
		sscanf(line, "SigQ: %d/", &n);
	fclose(f);
	return n;
}

static int is_not(uid_t uid, int tid)
{
	char path[100], line[300];
	unsigned id[4];
	int is = 0;
	snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
	FILE *f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "Uid: %u %u %u %u", &id[0], &id[1], &id[2], &id[3]) == 4)
			is = id[0] == uid && id[1] == uid && id[2] == uid && id[3] == uid;
	if (f)
		fclose(f);
	return !is;
}

static int threads_that_are_not(uid_t uid)
{
	int found = is_not(uid, getpid());
	for (int i = 0; i < THREADS; i++)
		found += is_not(uid, atomic_load(&tids[i]));
	return found;
}

static void change_user(uid_t uid)
{
	int wrong = 0;
	for (int i = 1; i <= 20; i++) {
		for (int n = LIMIT - ROOM; n > 0 && used() < LIMIT; n--)
			if (queue_one(n, 0) != 0)
				printf("full too early: %d\n", n);
		if (setresuid(uid + (uid_t)i, uid + (uid_t)i, uid + (uid_t)i) != 0)
			wrong++;
		wrong += threads_that_are_not(uid + (uid_t)i);
		take_all();
		usleep(150000);
	}
	printf("wrong %d\n", wrong);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "queue";
	uid_t uid = 1000000 + (uid_t)getpid() * 32;
	struct rlimit limit = {LIMIT, LIMIT};
	pthread_t thread[THREADS];
	keep_right_to_change_user(uid);
	setrlimit(RLIMIT_SIGPENDING, &limit);
	sigemptyset(&own);
	sigaddset(&own, SIGRTMIN + 1);
	pthread_sigmask(SIG_BLOCK, &own, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, burn, &tids[i]);
	puts("ready 1");
	fflush(stdout);
	char line[100];
	if (!fgets(line, sizeof line, stdin))
		return 2;
	if (strcmp(how, "timers") == 0)
		timers();
	else if (strcmp(how, "kill") == 0)
		kill_often();
	else if (strcmp(how, "setuid") == 0)
		change_user(uid);
	else
		queue(strcmp(how, "syscall") == 0);
	puts("end 1");
	fflush(stdout);
	if (!fgets(line, sizeof line, stdin))
		line[0] = '\0';
	atomic_store(&stop, 1);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	return 0;
}
