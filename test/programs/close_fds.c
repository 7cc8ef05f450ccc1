/* close_fds.c - close every descriptor from 3 up as a daemon does, then use the numbers for files.
 *
 * close_fds FOLDER      opens 200 files in it after closing; writes nothing into them.
 * Runs in: a test program; it must print the same with the shim and without. Truth: `fd N NUMBER` for each
 * file, `ready`; after the end of stdin `size_sum` (0: nobody wrote into them) and `still_open`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "truth.h"

enum { FILES = 200 };

int main(int argc, char **argv)
{
	struct rlimit limit;
	static int fds[FILES];
	if (argc < 2 || getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 2;
	int top = limit.rlim_cur > 65536 ? 65536 : (int)limit.rlim_cur;
	for (int fd = 3; fd < top; fd++)
		close(fd);
	for (int i = 0; i < FILES; i++) {
		char path[4096];
		snprintf(path, sizeof path, "%s/%d", argv[1], i);
		fds[i] = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
		printf("fd %d %d\n", i, fds[i]);
	}
	/* The numbers the library is likeliest to have had. */
	for (int fd = top - 1; fd >= top - 64 && fd > 2 + FILES; fd--)
		dup2(fds[0], fd);
	for (int i = 0; i < 2000; i++)
		free(malloc(100000));
	ready_and_wait();

	long sum = 0, open_now = 0;
	for (int i = 0; i < FILES; i++) {
		struct stat s;
		if (fstat(fds[i], &s) == 0) {
			open_now++;
			sum += s.st_size;
		}
	}
	printf("size_sum %ld\nstill_open %ld\n", sum, open_now);
	return 0;
}
