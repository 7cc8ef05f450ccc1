/* limits.c - address space, descriptors or processes used up: the program sees what it would see anyway.
 *
 * limits as | nofile | nproc
 * limits few UID      becomes this user, prints "user 0", reads a line, and makes threads where there may be one more
 * Runs in: a test program; it must print the same with the shim and without.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <threads.h>

#include "truth.h"

static void *nothing(void *arg)
{
	free(malloc(100));
	return arg;
}

static void address_space(void)
{
	struct rlimit l = {200 << 20, 200 << 20};
	printf("setrlimit %d\n", setrlimit(RLIMIT_AS, &l));
	void *first = NULL;
	long failed = 0, n = 0;
	errno = 0;
	for (int i = 0; i < 4000; i++, n++) {
		void **p = malloc(100 << 10);
		if (!p) {
			failed = errno;
			break;
		}
		*p = first;
		first = p;
	}
	printf("enough_first %d\nfailed_errno %ld\n", n > 1000, failed);
	while (first) {
		void *next = *(void **)first;
		free(first);
		first = next;
	}
	void *p = malloc(100 << 10);
	printf("works_again %d\n", p != NULL);
	free(p);
}

static void descriptors(void)
{
	struct rlimit l = {30, 30};
	printf("setrlimit %d\n", setrlimit(RLIMIT_NOFILE, &l));
	int last = -1, fd;
	while ((fd = open("/dev/null", O_RDONLY)) >= 0)
		last = fd;
	printf("last_fd %d\nerrno %d\n", last, errno);
	for (int i = 0; i < 1000; i++)
		free(malloc(10000));
}

static void processes(void)
{
	struct rlimit l = {1, 1};
	printf("setrlimit %d\n", setrlimit(RLIMIT_NPROC, &l));
	for (int i = 0; i < 1000; i++)
		free(malloc(10000));
	pthread_t t;
	int r = pthread_create(&t, NULL, nothing, NULL); /* root is not bound by the limit */
	printf("pthread_create %d\n", r);
	if (r == 0)
		pthread_join(t, NULL);
}

static int nothing_c11(void *arg)
{
	free(malloc(100));
	return arg != NULL;
}

static void *wait_for_end(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* One after another there may be as many as it likes; one more beside the last one is too many. */
static void few(uid_t user)
{
	struct rlimit l = {2, 2};
	pthread_t t;
	thrd_t t11;
	char c;
	printf("user %d\n", setresuid(user, user, user));
	fflush(stdout);
	while (read(0, &c, 1) == 1 && c != '\n')
		continue;
	setrlimit(RLIMIT_NPROC, &l);
	int r = thrd_create(&t11, nothing_c11, NULL);
	printf("thrd_create %d\n", r);
	if (r == thrd_success)
		thrd_join(t11, NULL);
	usleep(50000); /* a joined thread is counted a moment longer */
	printf("pthread_create %d\n", pthread_create(&t, NULL, wait_for_end, NULL));
	printf("pthread_create %d\n", pthread_create(&t, NULL, nothing, NULL));
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "as";
	if (strcmp(what, "as") == 0)
		address_space();
	else if (strcmp(what, "nofile") == 0)
		descriptors();
	else if (strcmp(what, "few") == 0)
		few(argc > 2 ? (uid_t)atoi(argv[2]) : getuid());
	else
		processes();
	puts("end 1");
	return 0;
}
