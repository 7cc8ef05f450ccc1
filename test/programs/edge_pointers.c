/* edge_pointers.c - calls with pointers that the kernel, or libc, would refuse, or would not look at.
 *
 * usage: edge_pointers [SECONDS]     again and again for so long; what differs from the first time is printed, too
 *
 * Runs in: a test program; it must print the same with the shim and without.
 * Truth: `call result errno`; `end 1`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 64, PAGE = 4096 };

static struct {
	const char *call;
	long result;
	int error;
} first[MOST];
static int place, rounds;

static void say(const char *call, long result)
{
	int error = result == -1 ? errno : 0;
	if (rounds && first[place].result == result && first[place].error == error) {
		place++;
		return;
	}
	first[place].result = result;
	first[place++].error = error;
	printf("%s %ld %d\n", call, result, error);
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* A signal comes while it sleeps, again and again lest one comes before. */
static void alarms(long us)
{
	struct itimerval t = {{0, us}, {0, us}};
	setitimer(ITIMER_REAL, &t, NULL);
}

/* nothing: an address that can't be used; part: one whose first half can be. */
static void actions(void *nothing)
{
	static const int refused[] = {0, -1, 32, 33, 65, 1000};
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		say("sigaction", sigaction(refused[i], nothing, NULL));
	say("number", syscall(SYS_rt_sigaction, SIGUSR1, nothing, NULL, 8));
}

static void sleeps(void *nothing, void *part)
{
	const struct timespec minute = {.tv_sec = 60};
	struct timespec left = {.tv_sec = -1};
	alarms(20000);
	say("nanosleep", nanosleep(&minute, nothing));
	say("nanosleep_part", nanosleep(&minute, part));
	say("nanosleep_left", nanosleep(&minute, &left));
	say("left", left.tv_sec);
	say("clock_nanosleep", clock_nanosleep(CLOCK_MONOTONIC, 0, &minute, nothing));
	say("clock_nanosleep_part", clock_nanosleep(CLOCK_MONOTONIC, 0, &minute, part));
	say("clock_nanosleep_left", clock_nanosleep(CLOCK_MONOTONIC, 0, &minute, &left));
	say("thrd_sleep", thrd_sleep(&minute, nothing));
	say("thrd_sleep_left", thrd_sleep(&minute, &left));
	alarms(0);
}

/* In a process whose server has yet to start: a call that may wait long starts it. */
static int times(void *nothing, void *part)
{
	struct epoll_event event;
	struct sembuf op = {0, -1, 0};
	sigset_t set;
	int epoll = epoll_create1(0), semaphore = semget(IPC_PRIVATE, 1, 0600);
	sigemptyset(&set);
	say("sigtimedwait", sigtimedwait(&set, NULL, nothing));
	say("sigtimedwait_part", sigtimedwait(&set, NULL, part));
	say("semtimedop", semtimedop(semaphore, &op, 1, nothing));
	say("semtimedop_part", semtimedop(semaphore, &op, 1, part));
	say("epoll_pwait2", epoll_pwait2(epoll, &event, 1, nothing, NULL));
	say("epoll_pwait2_part", epoll_pwait2(epoll, &event, 1, part, NULL));
	semctl(semaphore, 0, IPC_RMID);
	close(epoll);
	fflush(stdout);
	return 0;
}

static void in_child(void *nothing, void *part)
{
	int status;
	fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		_exit(times(nothing, part));
	waitpid(child, &status, 0);
	say("child", status);
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 0);
	struct sigaction a = {.sa_handler = on_alarm};
	char *pages = mmap(NULL, (size_t)2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *nothing = pages + PAGE, *part = pages + PAGE - 8;
	mprotect(nothing, PAGE, PROT_NONE);
	sigaction(SIGALRM, &a, NULL);
	do {
		place = 0;
		actions(nothing);
		sleeps(nothing, part);
		if (!rounds)
			in_child(nothing, part);
		rounds++;
	} while (time(NULL) < end);
	puts("end 1");
	return 0;
}
