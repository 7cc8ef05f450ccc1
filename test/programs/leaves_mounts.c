/* leaves_mounts.c - a process that goes from one mount namespace of its own to the next, as launchers do.
 *
 * Runs in: a process of its own, as root. Truth: the name of an open file whose mount was in the first one. When nobody
 * is left in a mount namespace, the kernel takes its mounts apart, and the name is the path within the mount.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SKIPPED = 77 };

static int enter_namespace(void)
{
	return unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static int child(const char *folder)
{
	char path[300], link[64];
	if (enter_namespace() || mount("tmpfs", folder, "tmpfs", 0, NULL))
		return SKIPPED;
	snprintf(path, sizeof path, "%s/file", folder);
	int fd = open(path, O_CREAT | O_RDWR, 0600);
	if (fd < 0 || chroot("/")) /* the listener of this child is born, here */
		return SKIPPED;
	if (enter_namespace())
		return SKIPPED;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof path - 1);
	path[n < 0 ? 0 : n] = '\0';
	printf("name %s\n", path);
	return 0;
}

int main(int argc, char **argv)
{
	int status = 0;
	if (argc < 2)
		return 2;
	pid_t pid = fork();
	if (pid == 0) {
		int r = child(argv[1]);
		fflush(stdout);
		_exit(r);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 1;
	return WEXITSTATUS(status);
}
