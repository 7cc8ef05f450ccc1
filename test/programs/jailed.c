/* jailed.c - a server that puts itself into a folder without /proc by chroot(2), and maybe gives up root.
 *
 * jailed HOW FOLDER [UID [PROCESSES]]
 *   self    the process goes there itself
 *   number  the same by the number of the call
 *   child   a child goes there, as with servers that put themselves in the background
 *   late    the process goes there, and then has a child
 *   PROCESSES  a limit (RLIMIT_NPROC) that it sets itself when its threads are there
 * Runs in: a test program started by root. One thread burns the processor, one sleeps, one waits for a lock, and main
 * burns, too. Prints `pid N` of the process that does, `ready`; ends with its stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <grp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "truth.h"

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

SITE static unsigned burn(unsigned x)
{
	for (int i = 0; i < 100000; i++)
		x = x * 1664525u + 1013904223u;
	return x;
}

static int is_over(void)
{
	struct pollfd p = {.fd = 0, .events = POLLIN};
	return poll(&p, 1, 0) > 0;
}

SITE static void *burn_on(void *unused)
{
	volatile unsigned x = 1;
	(void)unused;
	while (!is_over())
		x = burn(x);
	return NULL;
}

SITE static void *doze(void *unused)
{
	(void)unused;
	while (!is_over())
		poll(NULL, 0, 300);
	return NULL;
}

SITE static void *wait_for_lock(void *unused)
{
	pthread_mutex_lock(&held);
	pthread_mutex_unlock(&held);
	return unused;
}

static void enter(const char *folder, int by_number)
{
	if ((by_number ? syscall(SYS_chroot, folder) : chroot(folder)) || chdir("/")) {
		perror("chroot");
		_exit(1);
	}
}

static void become(const char *uid)
{
	if (uid && (setgroups(0, NULL) || setgid((gid_t)atoi(uid)) || setuid((uid_t)atoi(uid)))) {
		perror("setuid");
		_exit(1);
	}
}

static void have_child(void)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, 9);
		return;
	}
	waitpid(pid, &status, 0);
	_exit(status != 0);
}

int main(int argc, char **argv)
{
	pthread_t t[3];
	if (argc < 3)
		return 2;
	if (strcmp(argv[1], "child") == 0)
		have_child();
	enter(argv[2], strcmp(argv[1], "number") == 0);
	if (strcmp(argv[1], "late") == 0)
		have_child();
	become(argv[3]);
	pthread_mutex_lock(&held);
	pthread_create(&t[0], NULL, burn_on, NULL);
	pthread_create(&t[1], NULL, doze, NULL);
	pthread_create(&t[2], NULL, wait_for_lock, NULL);
	if (argc > 4)
		setrlimit(RLIMIT_NPROC, &(struct rlimit){(rlim_t)atoi(argv[4]), (rlim_t)atoi(argv[4])});
	printf("pid %d\nready\n", (int)getpid());
	fflush(stdout);
	burn_on(NULL);
	pthread_mutex_unlock(&held);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	return 0;
}
