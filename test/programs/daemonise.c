/* daemonise.c - fork, setsid, fork again; close everything; the daemon allocates and waits to be killed.
 *
 * daemonise PIDFILE      the daemon's pid is written there.
 * Runs in: a test program: the first process ends with status 0 as soon as the daemon is ready. The daemon
 * ends by itself after 60 seconds, or when the file PIDFILE.stop appears (then with PIDFILE.done written).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "truth.h"

SITE static void *site_daemon(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}

static void write_file(const char *path, long value)
{
	char text[32], part[4096];
	snprintf(part, sizeof part, "%s.part", path);
	int n = snprintf(text, sizeof text, "%ld\n", value);
	int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		_exit(5);
	close(fd);
	rename(part, path);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	int told[2];
	char c = 1;
	if (pipe(told) != 0)
		return 2;
	if (fork() != 0) {
		close(told[1]);
		if (read(told[0], &c, 1) != 1)
			return 3;
		puts("started 1");
		return 0;
	}
	setsid();
	if (fork() != 0)
		_exit(0);
	write_file(argv[1], getpid());
	for (int fd = 0; fd < 1024; fd++)
		if (fd != told[1])
			close(fd);
	open("/dev/null", O_RDWR);
	dup(0);
	dup(0);
	for (int i = 0; i < 300; i++)
		keep_block(site_daemon(4000));
	if (write(told[1], &c, 1) != 1)
		_exit(4);
	close(told[1]);

	char stop[4096], done[4096];
	snprintf(stop, sizeof stop, "%s.stop", argv[1]);
	snprintf(done, sizeof done, "%s.done", argv[1]);
	for (int i = 0; i < 600; i++) {
		struct stat s;
		free(site_daemon(100));
		nanosleep(&(struct timespec){0, 100000000}, NULL);
		if (stat(stop, &s) == 0)
			break;
	}
	write_file(done, 1);
	return 0;
}
