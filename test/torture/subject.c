/* subject.c - the program that torture/stepper.c steps through: turns of one row of bench/rows.def between two
 * breakpoints.
 *
 * subject ROW TURNS alone|forks     alone: one thread, whose handler may fork as well; forks: a second thread forks at
 * each byte on stdin
 *
 * SIGUSR2 is the signal that lands: its handler calls every kind of function that POSIX calls safe there. Prints
 * `row NAME landed N forked N bad N` and ends with status 0 if nothing was bad; 3: libc has no such function.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>

#include "test/bench/rows.h"

#define BREAKPOINT() __asm__ volatile("int3" ::: "memory")

static bool alone;
static volatile int landed, bad, bad_line;
static int forked, pipe_ends[2];
static sem_t handler_sem;
static pid_t (*bare_fork)(void); /* _Fork: safe in every handler; glibc 2.34 and newer */

#define EXPECT(true_thing) \
	do { \
		if (!(true_thing)) { \
			bad++; \
			bad_line = __LINE__; \
		} \
	} while (0)

/* A child that works a little and ends. (One that a row's own wait() took is well, too.) */
static void expect_child(pid_t pid)
{
	int s = 0;
	pid_t r;
	do {
		r = waitpid(pid, &s, 0);
	} while (r < 0 && errno == EINTR);
	EXPECT((r < 0 && errno == ECHILD) || (r == pid && WIFEXITED(s) && WEXITSTATUS(s) == 7));
}

static void on_landing(int sig)
{
	int saved = errno;
	char c = 'x';
	struct sigaction old;
	struct timespec t;
	sigset_t mask;
	EXPECT(write(pipe_ends[1], &c, 1) == 1);
	EXPECT(read(pipe_ends[0], &c, 1) == 1 && c == 'x');
	EXPECT(sem_post(&handler_sem) == 0);
	EXPECT(kill(getpid(), 0) == 0);
	EXPECT(sigaction(sig, NULL, &old) == 0 && old.sa_handler == on_landing);
	EXPECT(sigprocmask(SIG_SETMASK, NULL, &mask) == 0 && sigismember(&mask, sig));
	EXPECT(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
	EXPECT(poll(NULL, 0, 0) == 0);
	EXPECT(recv(-1, &c, 1, 0) == -1 && errno == EBADF);
	if (alone)
		EXPECT(seteuid(geteuid()) == 0);
	if (bare_fork) {
		pid_t pid = bare_fork();
		if (pid == 0) {
			(void)!write(pipe_ends[1], "", 0);
			_exit(7);
		}
		expect_child(pid);
	}
	if (alone) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(7);
		expect_child(pid);
	}
	landed++;
	errno = saved;
}

static void *fork_at_each_byte(void *arg)
{
	char c;
	(void)arg;
	while (read(0, &c, 1) == 1) {
		pid_t pid = fork();
		if (pid == 0) {
			char *p = malloc(100);
			memset(p, 1, 100);
			p = realloc(p, 5000);
			free(p);
			(void)!write(pipe_ends[1], "", 0);
			_exit(p ? 7 : 1);
		}
		expect_child(pid);
		forked++;
	}
	return NULL;
}

/* Blocks with a pattern, made before and looked at after each turn. */
enum { BLOCKS = 40 };
static unsigned char *blocks[BLOCKS];

static void check_blocks(int turn)
{
	for (int i = 0; i < BLOCKS; i++) {
		size_t size = 16 + (size_t)i * 24;
		for (size_t k = 0; blocks[i] && k < size; k++)
			EXPECT(blocks[i][k] == (unsigned char)(i + k));
		if (blocks[i] && (i + turn) % 5)
			continue;
		free(blocks[i]);
		blocks[i] = malloc(size);
		for (size_t k = 0; k < size; k++)
			blocks[i][k] = (unsigned char)(i + k);
	}
}

static const struct row *find_row(const char *name)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (!strcmp(rows[i].name, name))
			return &rows[i];
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t other;
	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
			puts(rows[i].name);
		return 0;
	}
	const struct row *row = argc == 4 ? find_row(argv[1]) : NULL;
	if (!row || !(self = dlsym(RTLD_DEFAULT, row->name)))
		return 3;
	int turns = atoi(argv[2]);
	/* (libc's own seteuid and fork are not safe in a handler that interrupts pthread_create.) */
	alone = !strcmp(argv[3], "alone") && !strstr(row->name, "_create") && strcmp(row->name, "pthread_cancel") != 0;
	bool forks = !strcmp(argv[3], "forks");
	bare_fork = (pid_t(*)(void))dlsym(RTLD_DEFAULT, "_Fork");
	struct sigaction a = {.sa_handler = on_landing, .sa_flags = SA_RESTART};
	EXPECT(pipe(pipe_ends) == 0 && sem_init(&handler_sem, 0, 0) == 0 && sigaction(SIGUSR2, &a, NULL) == 0);
	rows_prepare();
	check_blocks(0);
	if (forks)
		pthread_create(&other, NULL, fork_at_each_byte, NULL);
	for (int turn = 0; turn < turns; turn++) {
		BREAKPOINT();
		row->run(1);
		BREAKPOINT();
		check_blocks(turn);
	}
	if (forks)
		pthread_join(other, NULL);
	int posted = 0;
	EXPECT(sem_getvalue(&handler_sem, &posted) == 0 && posted == landed);
	printf("row %s landed %d forked %d bad %d (line %d)\n", row->name, landed, forked, bad, bad_line);
	return bad != 0;
}
