/* start_state.c - what main finds: errno, dlerror, file descriptors, environment, threads' masks.
 *
 * start_state [FILE]      prints to FILE, for a start without stdio.
 * Runs in: a test program; it must print the same with the shim and without (the environment entries that
 * start the shim are left out). Descriptors from 512 up are not shown: the library's own live up there.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
	int first_errno = errno;
	const char *first_dlerror = dlerror();
	int lowest = open("/dev/null", O_RDONLY);
	int next = dup(lowest);
	FILE *out = argc > 1 ? fopen(argv[1], "w") : stdout;
	if (!out)
		return 9;

	fprintf(out, "errno %d\n", first_errno);
	fprintf(out, "dlerror %s\n", first_dlerror ? first_dlerror : "none");
	fprintf(out, "lowest_fd %d\nnext_fd %d\n", lowest, next);
	close(lowest);
	close(next);

	for (int fd = 0; fd < 512; fd++)
		if (fcntl(fd, F_GETFD) != -1)
			fprintf(out, "fd %d\n", fd);

	fprintf(out, "argv_then_environ %d\n", (void *)environ == (void *)(argv + argc + 1));
	for (char **e = environ; *e; e++)
		if (strncmp(*e, "LD_PRELOAD=", 11) != 0 && strncmp(*e, "PPROF_", 6) != 0)
			fprintf(out, "env %s\n", *e);
	int apart = 0;
	for (char **e = environ; *e && e[1]; e++)
		apart += e[1] != *e + strlen(*e) + 1;
	fprintf(out, "environment_in_one_piece %d\n", apart == 0);

	sigset_t mask;
	sigprocmask(SIG_SETMASK, NULL, &mask);
	int blocked = 0, handled = 0;
	for (int s = 1; s < 65; s++) {
		struct sigaction a;
		blocked += sigismember(&mask, s) == 1;
		if (sigaction(s, NULL, &a) == 0)
			handled += a.sa_handler != SIG_DFL && a.sa_handler != SIG_IGN;
	}
	fprintf(out, "signals_blocked %d\nsignals_handled %d\n", blocked, handled);
	for (int r = 0; r < 16; r++) {
		struct rlimit l;
		if (getrlimit(r, &l) == 0)
			fprintf(out, "rlimit_%d %lld %lld\n", r, (long long)l.rlim_cur, (long long)l.rlim_max);
	}
	fprintf(out, "end 1\n");
	return fclose(out) != 0;
}
