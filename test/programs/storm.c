/* storm.c - dlopen and dlclose, fork, and threads that are born and die, all at once and without end.
 *
 * storm LIBRARY [SECONDS]      (libplugin.so; 0 or none: until stdin ends)
 * Runs in: a test program. Truth: `ready`; at each line on stdin and at the end `loads N`, `forks N`, `threads N`, and
 * `told K`; at the end `end 1`. A child that does not end as it should makes it abort.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "clocks.h"
#include "truth.h"

static atomic_bool stop;
static atomic_long loads, forks, threads, allocations;
static const char *library;

static void die(const char *what, long value)
{
	fprintf(stderr, "storm: %s: %ld\n", what, value);
	abort();
}

static void *load(void *arg)
{
	while (!atomic_load(&stop)) {
		void *h = dlopen(library, RTLD_NOW | RTLD_LOCAL);
		void *(*call)(size_t) = h ? (void *(*)(size_t))dlsym(h, "plugin_call") : NULL;
		if (!call)
			die(dlerror(), 0);
		free(call(5000));
		burn_here(200000);
		if (dlclose(h) != 0)
			die("dlclose", 0);
		atomic_fetch_add(&loads, 1);
	}
	return arg;
}

static void *forker(void *arg)
{
	while (!atomic_load(&stop)) {
		int status = 0;
		pid_t pid = fork();
		if (pid < 0)
			die("fork", pid);
		if (pid == 0) {
			free(malloc(3000));
			burn_here(500000);
			_exit(9);
		}
		if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 9)
			die("a child's status", status);
		atomic_fetch_add(&forks, 1);
		if (usleep(2000) != 0)
			die("usleep", -1);
	}
	return arg;
}

static void *live_briefly(void *arg)
{
	pthread_setname_np(pthread_self(), "brief");
	burn_here(300000);
	free(malloc(1000));
	atomic_fetch_add(&threads, 1);
	return arg;
}

static void *breed(void *arg)
{
	while (!atomic_load(&stop)) {
		pthread_t t[4];
		int made = 0;
		for (int i = 0; i < 4; i++)
			made += pthread_create(&t[made], NULL, live_briefly, NULL) == 0;
		while (made > 0)
			pthread_join(t[--made], NULL);
	}
	return arg;
}

static void *allocate(void *arg)
{
	while (!atomic_load(&stop)) {
		for (int i = 0; i < 100; i++)
			free(malloc(100 + (size_t)i * 100));
		atomic_fetch_add(&allocations, 100);
		if (usleep(500) != 0)
			die("usleep", -1);
	}
	return arg;
}

static void tell(int k)
{
	printf("loads %ld\nforks %ld\nthreads %ld\ntold %d\n", (long)loads, (long)forks, (long)threads, k);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	void *(*const jobs[])(void *) = {load, forker, breed, breed, allocate};
	enum { JOBS = sizeof jobs / sizeof *jobs };
	pthread_t t[JOBS];
	char line[64];
	if (argc < 2)
		return 2;
	library = argv[1];
	for (int i = 0; i < JOBS; i++)
		pthread_create(&t[i], NULL, jobs[i], NULL);
	puts("ready 1");
	fflush(stdout);
	if (argc > 2 && atoi(argv[2]) > 0)
		sleep((unsigned)atoi(argv[2]));
	else
		for (int k = 1; fgets(line, sizeof line, stdin); k++)
			tell(k);
	atomic_store(&stop, 1);
	for (int i = 0; i < JOBS; i++)
		pthread_join(t[i], NULL);
	tell(0);
	puts("end 1");
	return 0;
}
