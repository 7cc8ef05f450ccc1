/* stepper.c - steps through the hooks, instruction by instruction, and lets something land at one chosen at random.
 *
 * stepper SUBJECT LIBRARY|- PORT SEED SECONDS signal|fork|request|profile|trace [ROW...]
 *
 * For each row in turn, again and again until the time is over: a subject is started, and traced from its first
 * breakpoint. At an instruction among the first 2000 of a turn (now and then, later) one thing happens, and the subject
 * goes on: signal    SIGUSR2, whose handler calls all that is safe there fork      the subject's other thread forks
 *   request   the listener is asked for a heap profile, a dump or the page
 *   profile, trace    as signal, while a CPU profile at 1000 Hz, or a trace, is taken
 * The subject has to end by itself, with status 0, within 20 s; answers have to be whole. Else its stacks are printed.
 * Prints `MODE: N landings in N processes, N failed, seed N`. Exit status 1: something failed.
 *
 * x86-64. Runs in: a process of its own; it kills only what it started.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TURNS = 12, FIRST_STEPS = 2000, LATER_STEPS = 20000, LIMIT_S = 20, ROWS = 400 };

static const char *subject, *library, *mode, *row;
static int port, landings, processes, failures;
static uint64_t seed, state;
static volatile sig_atomic_t too_late;

static pid_t pid;
static int to_subject, from_subject; /* its stdin, and its stdout and stderr */
static int asked = -1;               /* the connection with a request */
static int turn;
static long step, length; /* length: of a turn that was stepped to its end; 0: not known */

static uint32_t draw(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void sleep_ms(int ms)
{
	poll(NULL, 0, ms);
}

static void on_alarm(int sig)
{
	(void)sig;
	too_late = 1;
}

/* ---- requests ------------------------------------------------------------------------------------------------- */

static int send_request(const char *path)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char text[300];
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s < 0 || connect(s, (struct sockaddr *)&a, sizeof a)) {
		close(s);
		return -1;
	}
	int n = snprintf(text, sizeof text,
	                 "GET /debug/pprof/%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
	if (write(s, text, (size_t)n) != n) {
		close(s);
		return -1;
	}
	return s;
}

/* Read an answer to its end. Returns its status; -1: none came. */
static int read_answer(int s)
{
	char text[65536], first[16] = "";
	struct timeval limit = {.tv_sec = LIMIT_S};
	ssize_t n, all = 0;
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	while ((n = read(s, text, sizeof text)) > 0) {
		if (!all && n >= 13)
			memcpy(first, text, 15);
		all += n;
	}
	close(s);
	return n < 0 || !all ? -1 : atoi(first + 9);
}

/* ---- the subject ---------------------------------------------------------------------------------------------- */

static void become_subject(const int in[2], const int out[2])
{
	char address[40], turns[12];
	snprintf(address, sizeof address, "127.0.0.1:%d", port);
	snprintf(turns, sizeof turns, "%d", TURNS);
	dup2(in[0], 0);
	dup2(out[1], 1);
	dup2(out[1], 2);
	if (strcmp(library, "-")) {
		setenv("LD_PRELOAD", library, 1);
		setenv("PPROF_ADDR", address, 1);
		setenv("PPROF_HEAP_RATE", "1", 1);
		setenv("PPROF_BLOCK_RATE", "1", 1);
		setenv("PPROF_MUTEX_FRACTION", "1", 1);
	}
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	execl(subject, subject, row, turns, strcmp(mode, "fork") ? "alone" : "forks", (char *)NULL);
	_exit(127);
}

static void start_subject(void)
{
	int in[2], out[2], status;
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		abort();
	pid = fork();
	if (pid == 0)
		become_subject(in, out);
	close(in[0]);
	close(out[1]);
	to_subject = in[1];
	from_subject = out[0];
	waitpid(pid, &status, 0); /* the stop of execve */
	ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)PTRACE_O_EXITKILL);
	processes++;
}

/* Let it run on, by `how`, with that signal, until its next stop; returns the signal of the stop, 0: it has ended
 * (*status), -1: it is too late. Signals that are none of ours are passed on. */
static int go_on(int how, int sig, int *status)
{
	for (;;) {
		if (ptrace(how, pid, NULL, (void *)(intptr_t)sig) && errno != ESRCH)
			return -1;
		pid_t r = waitpid(pid, status, 0);
		if (r < 0)
			return -1;
		if (!WIFSTOPPED(*status))
			return 0;
		sig = WSTOPSIG(*status);
		if (sig == SIGTRAP || how == PTRACE_SINGLESTEP)
			return sig;
	}
}

/* Is it at a breakpoint of its own? (The instruction before is an int3.) */
static bool is_at_breakpoint(void)
{
	struct user_regs_struct regs;
	siginfo_t info;
	if (ptrace(PTRACE_GETSIGINFO, pid, NULL, &info) || info.si_code != SI_KERNEL)
		return false;
	ptrace(PTRACE_GETREGS, pid, NULL, &regs);
	return (ptrace(PTRACE_PEEKTEXT, pid, (void *)(regs.rip - 1), NULL) & 0xff) == 0xcc;
}

/* Step `steps` instructions. 1: done; 0: the end of the turn came before; -1: it is too late, or it has ended. */
static int step_through(long steps)
{
	int status, sig = 0;
	for (step = 0; step < steps; step++) {
		sig = go_on(PTRACE_SINGLESTEP, sig == SIGTRAP ? 0 : sig, &status);
		if (sig <= 0)
			return -1;
		if (sig == SIGTRAP && is_at_breakpoint())
			return 0;
	}
	if (sig != SIGTRAP && sig != 0) /* never lose a signal that came just now */
		return go_on(PTRACE_SINGLESTEP, sig, &status) > 0 ? 1 : -1;
	return 1;
}

static const char *a_request(void)
{
	static const char *const paths[] = {"heap",          "goroutine?debug=2", "",
	                                    "goroutine",     "allocs?debug=1",    "mutex",
	                                    "block?debug=1", "threadcreate"};
	return paths[draw() % (sizeof paths / sizeof *paths)];
}

/* What lands. Returns the signal to go on with. */
static int land(void)
{
	landings++;
	if (!strcmp(mode, "fork")) {
		(void)!write(to_subject, "f", 1);
		sleep_ms((int)(draw() % 3));
		return 0;
	}
	if (!strcmp(mode, "request")) {
		asked = send_request(a_request());
		sleep_ms((int)(draw() % 3));
		return 0;
	}
	return SIGUSR2;
}

/* Before which instruction it lands: any of a turn whose length is known; else, of few as likely as of many. */
static long choose_step(void)
{
	long limit = draw() % 16 ? FIRST_STEPS : LATER_STEPS, n = 1;
	if (length)
		return 1 + (long)draw() % (length < limit ? length : limit);
	while (n < limit && draw() % 8)
		n = n * 2 + draw() % 2;
	return n < limit ? n : limit;
}

static bool take_turn(long steps)
{
	int status, r = step_through(steps), sig;
	if (r < 0)
		return false;
	if (r == 0) {
		length = step;
		return true;
	}
	sig = go_on(PTRACE_CONT, land(), &status);
	return sig == SIGTRAP && is_at_breakpoint();
}

/* ---- when it fails -------------------------------------------------------------------------------------------- */

static void print_file(const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
	if (n > 0) {
		text[n] = 0;
		printf("    %s: %s%s", path, text, text[n - 1] == '\n' ? "" : "\n");
	}
	close(fd);
}

static void print_stacks(void)
{
	char path[300];
	int status;
	snprintf(path, sizeof path, "/proc/%d/task", pid);
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));)
		for (int i = 0; i < 2 && e->d_name[0] != '.'; i++) {
			snprintf(path, sizeof path, "/proc/%d/task/%s/%s", pid, e->d_name, i ? "syscall" : "wchan");
			print_file(path);
		}
	if (d)
		closedir(d);
	kill(pid, SIGSTOP);
	alarm(2);
	if (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status))
		ptrace(PTRACE_DETACH, pid, NULL, (void *)SIGSTOP);
	alarm(0);
	snprintf(path, sizeof path,
	         "gdb -p %d -batch -ex 'thread apply all bt 16' 2>/dev/null | grep -E '^(#|Thread)' | head -60 | sed "
	         "'s/^/    /'",
	         pid);
	fflush(stdout);
	if (system(path))
		puts("    (no gdb)");
}

static void fail(const char *what, int value)
{
	failures++;
	printf("FAIL %s %s: %s (%d), turn %d, step %ld, process %d, seed %llu\n", mode, row, what, value, turn, step,
	       processes, (unsigned long long)seed);
	fflush(stdout);
}

/* ---- one process ---------------------------------------------------------------------------------------------- */

/* Everything it printed, if it failed. */
static void print_output(void)
{
	char text[2000];
	ssize_t n = read(from_subject, text, sizeof text - 1);
	if (n > 0) {
		text[n] = 0;
		printf("    it said: %s\n", text);
	}
}

/* The end of the subject: what it says of itself, and whether requests were answered. */
static void finish(bool well)
{
	int status = 0, sig = well ? go_on(PTRACE_CONT, 0, &status) : -1;
	if (!well && !too_late && waitpid(pid, &status, WNOHANG) < 0)
		sig = -2;
	if (sig > 0)
		fail("stopped by a signal", sig);
	else if (too_late) {
		fail("did not go on", LIMIT_S);
		print_stacks();
	} else if (sig < 0)
		fail("ended or lost", sig);
	else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fail(WIFEXITED(status) ? "exit status" : "ended by signal",
		     WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
		print_output();
	}
	alarm(0);
	if (sig != 0) {
		kill(pid, SIGKILL);
		while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status))
			ptrace(PTRACE_CONT, pid, NULL, NULL);
	}
}

static void read_request(void)
{
	int answer;
	if (asked < 0)
		return;
	answer = read_answer(asked);
	asked = -1;
	/* The listener ends before exec, and comes back when that has failed: then an answer may be cut. */
	if (answer != 200 && !strstr(row, "exec"))
		fail("an answer's status", answer);
}

static void run_process(void)
{
	int status, background = -1;
	bool well;
	too_late = 0;
	turn = 0;
	step = length = 0;
	start_subject();
	alarm(LIMIT_S);
	int sig = go_on(PTRACE_CONT, 0, &status);
	if (sig == 0) { /* libc has no such function: status 3 */
		if (status != 3 << 8)
			fail("ended at once, status", status);
		goto out;
	}
	if (!strcmp(mode, "profile"))
		background = send_request("profile?seconds=1&hz=1000");
	if (!strcmp(mode, "trace"))
		background = send_request("trace?seconds=1");
	well = sig == SIGTRAP && is_at_breakpoint();
	for (turn = 0; well && turn < TURNS; turn++) {
		well = take_turn(choose_step());
		if (well && turn < TURNS - 1)
			well = go_on(PTRACE_CONT, 0, &status) == SIGTRAP;
		if (well)
			read_request();
	}
	close(to_subject);
	to_subject = -1;
	finish(well);
out:
	close(to_subject);
	close(from_subject);
	if (background >= 0)
		close(background);
	if (asked >= 0)
		close(asked);
	asked = -1;
	alarm(0);
}

/* ---- all ------------------------------------------------------------------------------------------------------ */

static int rows_of(char names[ROWS][64])
{
	char command[4200];
	int n = 0;
	snprintf(command, sizeof command, "'%s' --list", subject);
	FILE *f = popen(command, "r");
	while (f && n < ROWS && fscanf(f, "%63s", names[n]) == 1)
		n++;
	if (f)
		pclose(f);
	return n;
}

int main(int argc, char **argv)
{
	static char names[ROWS][64];
	struct sigaction a = {.sa_handler = on_alarm};
	if (argc < 7)
		return 2;
	subject = argv[1];
	library = argv[2];
	port = atoi(argv[3]);
	seed = strtoull(argv[4], NULL, 10);
	mode = argv[6];
	state = seed;
	sigaction(SIGALRM, &a, NULL);
	signal(SIGPIPE, SIG_IGN);
	int count = rows_of(names), at = count ? (int)(draw() % (unsigned)count) : 0;
	double until = now() + atof(argv[5]);
	if (!count)
		return 2;
	while (now() < until && failures < 5) {
		row = argc > 7 ? argv[7 + processes % (argc - 7)] : names[at++ % count];
		run_process();
	}
	printf("%s: %d landings in %d processes of %d rows, %d failed, seed %llu\n", mode, landings, processes, count,
	       failures, (unsigned long long)seed);
	return failures != 0;
}
