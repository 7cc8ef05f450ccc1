/* fork_flush SECONDS: threads that fork, others that read lines (a stream's lock is held while libc makes the line
 * longer), and one that flushes all streams (the list of streams is held while it waits for each).
 *
 * Runs in: a process of its own. Truth: `done 1`, after so many seconds.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FORKERS = 4, READERS = 8, THREADS = FORKERS + READERS + 1, LINES = 60 };

static int stop; /* atomic */
static char path[] = "/tmp/fork-flush-XXXXXX";

static int is_stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void *make_children(void *arg)
{
	while (!is_stopped()) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
	return arg;
}

/* A new line each time, which grows by realloc. */
static void *read_lines(void *arg)
{
	FILE *f = fopen(path, "r");
	while (f && !is_stopped()) {
		char *line = NULL;
		size_t room = 0;
		if (getline(&line, &room, f) < 0)
			rewind(f);
		free(line);
	}
	fclose(f);
	return arg;
}

static void *flush_all(void *arg)
{
	while (!is_stopped())
		fflush(NULL);
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t thread[THREADS];
	FILE *f = fdopen(mkstemp(path), "w");
	for (int i = 1; i < LINES; i++)
		fprintf(f, "%*d\n", i * 400, i);
	fclose(f);
	for (int i = 0; i < THREADS; i++) {
		void *(*job)(void *) = i < FORKERS ? make_children : i < THREADS - 1 ? read_lines : flush_all;
		pthread_create(&thread[i], NULL, job, NULL);
	}
	sleep(argc > 1 ? (unsigned)atoi(argv[1]) : 3);
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	unlink(path);
	puts("done 1");
	return 0;
}
