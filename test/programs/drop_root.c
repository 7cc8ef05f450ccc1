/* drop_root.c - give up root; afterwards no thread of the process may still have it.
 *
 * drop_root HOW [UID]     HOW: setuid, setresuid, setreuid, seteuid.
 * Runs in: a test program started by root. Truth: `result 0`, `threads_with_root N` (0) as found in
 * /proc/self/task at once after the call, `ready`; waits for the end of stdin; `threads_with_root_later N`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dirent.h>
#include <grp.h>

#include "truth.h"

static int effective_only;

/* Threads whose real, effective, saved or file system id (user or group) is 0. */
static int with_root(void)
{
	int found = 0;
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	while (d && (e = readdir(d))) {
		char path[300], line[300];
		snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
		FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
		int root = 0;
		while (f && fgets(line, sizeof line, f)) {
			int id[4];
			if (sscanf(line, "Uid: %d %d %d %d", &id[0], &id[1], &id[2], &id[3]) == 4 ||
			    sscanf(line, "Gid: %d %d %d %d", &id[0], &id[1], &id[2], &id[3]) == 4)
				root |= effective_only ? id[1] == 0 : !id[0] || !id[1] || !id[2] || !id[3];
		}
		if (f)
			fclose(f);
		found += root;
	}
	if (d)
		closedir(d);
	return found;
}

static void *live_on(void *arg)
{
	for (;;)
		pause(); /* libc's own signal, which makes this thread follow, interrupts it */
	return arg;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "setuid";
	uid_t id = argc > 2 ? (uid_t)atoi(argv[2]) : 65534;
	gid_t group = (gid_t)id;
	pthread_t t;
	int r;
	pthread_create(&t, NULL, live_on, NULL);
	free(malloc(1000000));
	if (strcmp(how, "setresuid") == 0) {
		r = setgroups(1, &group) | setresgid(id, id, id) | setresuid(id, id, id);
	} else if (strcmp(how, "setreuid") == 0) {
		r = setgroups(0, NULL) | setregid(id, id) | setreuid(id, id);
	} else if (strcmp(how, "seteuid") == 0) {
		effective_only = 1;
		r = setegid(id) | seteuid(id);
	} else {
		r = initgroups("nobody", id) | setgid(id) | setuid(id);
	}
	printf("result %d\nthreads_with_root %d\n", r, with_root());
	ready_and_wait();
	printf("threads_with_root_later %d\n", with_root());
	fflush(stdout);
	_exit(0);
}
