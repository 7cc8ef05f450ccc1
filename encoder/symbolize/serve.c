/* serve.c - the listener's helper: a request from one pipe, its answer to the other (protocol.h).
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "encoder/symbolize/demangle.h"
#include "encoder/symbolize/dwarf/lookup.h"
#include "encoder/symbolize/protocol.h"
#include "encoder/symbolize/reply.h"
#include "encoder/symbolize/request.h"

enum {
	LIFETIME_S = 600, /* far beyond any deadline of the listener: the last resort */
	NICER_BY = 5,
	NOTES_MAX = 3, /* of one kind, of an object */
};

/* --- names ----------------------------------------------------------------------------------------- */

/* A name that is not mangled gets no line: it is simple already. */
static void answer_names(const struct request *q, struct reply *r)
{
	size_t number = 0;
	for (size_t at = 0, next; at < q->len && !r->error; at = next) {
		const char *name = request_after(request_line(q, at, &next), 'd');
		if (!name)
			continue;
		char *simple = demangle(name, false);
		if (simple) {
			reply_begin(r);
			reply_format(r, "d %zu ", number);
			reply_text(r, simple, NAME_MAX_BYTES);
			reply_format(r, "\n");
		}
		free(simple);
		number++;
	}
	reply_flush(r);
}

/* --- objects --------------------------------------------------------------------------------------- */

static void answer_address(void *arg, const struct answer *a)
{
	struct reply *r = arg;
	reply_begin(r);
	reply_format(r, "a %llx %llx\n", (unsigned long long)a->address, (unsigned long long)a->start);
	if (a->calls) {
		reply_format(r, "c %llx ", (unsigned long long)a->called);
		reply_text(r, a->calls, NAME_MAX_BYTES);
		reply_format(r, "\n");
	}
	for (size_t i = 0; i < a->count && i < SYMBOLIZE_FRAMES_MAX; i++) {
		const struct frame *f = &a->frame[i];
		reply_line(r);
		reply_format(r, "f %u %u\t", f->line, f->start_line);
		reply_text(r, f->file, FILE_MAX);
		reply_format(r, "\t");
		reply_text(r, f->system, NAME_MAX_BYTES);
		reply_format(r, "\t");
		reply_text(r, f->name, NAME_MAX_BYTES);
		reply_format(r, "\n");
	}
}

static void answer_call(void *arg, const struct jumps *j)
{
	struct reply *r = arg;
	reply_begin(r);
	reply_format(r, "a %llx %llx\n", (unsigned long long)(j->address | SYMBOLIZE_CALL),
	             (unsigned long long)j->first);
	for (size_t i = 0; i < j->count; i++) {
		const struct jump *g = &j->jump[i];
		reply_line(r);
		reply_format(r, "g %llx %llx %llx\t", (unsigned long long)g->from, (unsigned long long)g->at,
		             (unsigned long long)g->to);
		reply_text(r, g->name, NAME_MAX_BYTES);
		reply_format(r, "\n");
	}
}

/* Opening the program's own file as /proc/PID/exe needs privileges that are dropped before any file is read. So it is
 * opened earlier, and its path is replaced by that of the descriptor (`as`). */
static struct {
	char path[64], as[64];
} program;

static void open_program(const struct request *q)
{
	for (size_t at = 0, next; at < q->len && !program.path[0]; at = next) {
		const char *p = request_after(request_line(q, at, &next), 'p');
		if (!p || strncmp(p, "/proc/", 6) != 0 || strlen(p) >= sizeof program.path)
			continue;
		int fd = open(p, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (fd < 0)
			continue;
		snprintf(program.path, sizeof program.path, "%s", p);
		snprintf(program.as, sizeof program.as, "/proc/self/fd/%d", fd);
	}
}

static const char *path_to_open(const char *path)
{
	return strcmp(path, program.path) == 0 ? program.as : path;
}

/* Open the first of the object's paths that can be opened; if there is none, write a note for each. */
static struct object *open_any(const struct request *q, size_t begin, size_t end, const char *build_id, struct reply *r)
{
	const char *path[NOTES_MAX], *why[NOTES_MAX];
	size_t tried = 0;
	for (size_t at = begin, next; at < end; at = next) {
		const char *p = request_after(request_line(q, at, &next), 'p'), *reason = NULL;
		if (!p)
			continue;
		struct object *o = object_open(path_to_open(p), build_id, &reason);
		if (o)
			return o;
		if (tried < NOTES_MAX)
			path[tried] = p, why[tried] = reason ? reason : "it cannot be read";
		tried++;
	}
	for (size_t i = 0; i < tried && i < NOTES_MAX; i++)
		reply_note(r, path[i], why[i]);
	if (!tried)
		reply_note(r, NULL, "no file of it is known");
	return NULL;
}

/* Write the object's note, unless it was written before and has not changed. */
static void tell_note(const struct object *o, const char **said, struct reply *r)
{
	const char *note = object_note(o);
	if (note && note != *said)
		reply_note(r, NULL, note);
	*said = note;
}

/* Answer for one object, whose lines after the first are [begin, end). */
static void answer_object(const struct request *q, size_t begin, size_t end, const char *build_id, struct reply *r)
{
	size_t count;
	uint64_t *addresses = request_addresses(q, begin, end, &count);
	const char *said = NULL;
	struct object *o = NULL;
	if (!addresses && count)
		reply_note(r, NULL, "there is no memory for its addresses");
	else
		o = open_any(q, begin, end, strcmp(build_id, "-") == 0 || !*build_id ? NULL : build_id, r);
	if (o) {
		tell_note(o, &said, r);
		size_t plain = 0; /* calls come after them */
		while (plain < count && !(addresses[plain] & SYMBOLIZE_CALL))
			plain++;
		for (size_t i = plain; i < count; i++)
			addresses[i] &= ~SYMBOLIZE_CALL;
		if (plain)
			object_lookup(o, addresses, plain, answer_address, r);
		if (plain < count)
			object_jumps(o, addresses + plain, count - plain, answer_call, r);
		tell_note(o, &said, r);
		reply_flush(r); /* closing may take long */
		object_close(o);
	}
	free(addresses);
	reply_flush(r);
}

static void answer_objects(const struct request *q, struct reply *r)
{
	size_t number = 0;
	for (size_t at = 0, next; at < q->len && !r->error; at = next) {
		const char *build_id = request_after(request_line(q, at, &next), 'o');
		if (!build_id)
			continue;
		size_t end = next;
		for (size_t later; end < q->len && !request_after(request_line(q, end, &later), 'o');)
			end = later;
		reply_begin(r);
		reply_format(r, "o %zu\n", number++);
		answer_object(q, next, end, build_id, r);
		next = end;
	}
}

static bool is_filtered(void)
{
	return prctl(PR_GET_SECCOMP) != 0;
}

/* Try a call in a child first: a filter of system calls may kill the process for it (systemd's ~@resources, say). */
static bool is_allowed(void (*call)(void))
{
	int status = 1;
	pid_t child = fork();
	if (child == 0) {
		call();
		_exit(0);
	}
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static void be_nice(void)
{
	int priority = getpriority(PRIO_PROCESS, 0) + NICER_BY;
	setpriority(PRIO_PROCESS, 0, priority < 19 ? priority : 19);
}

static bool is_helper; /* started by a listener, as a process of its own */

/* Drop all capabilities. A program of root's gives them to its helper, which reads files that may be hostile; reading
 * needs none of them. */
static void shed_powers(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};
	syscall(SYS_capset, &header, none);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

void serve_shed_powers(void)
{
	if (!is_filtered() || is_allowed(shed_powers))
		shed_powers();
}

int serve(int in, int out)
{
	struct request q = {0};
	struct reply *r = calloc(1, sizeof *r);
	int error = r ? request_read(in, &q) : -ENOMEM;
	if (error == 0 && is_helper) {
		open_program(&q);
		serve_shed_powers();
	}
	if (error == 0) {
		reply_start(r, out);
		answer_names(&q, r);
		answer_objects(&q, r);
		reply_begin(r);
		reply_format(r, "e\n");
		reply_flush(r);
		error = r->error;
	}
	free(q.bytes);
	free(r);
	return error;
}

/* --- the process ----------------------------------------------------------------------------------- */

/* If memory is short, in the container or on the machine, let the kernel end this process and not the program. */
static void go_first(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t written = write(fd, "1000", 4);
	(void)written; /* if it is not allowed, the kernel chooses by itself */
	close(fd);
}

void serve_prepare(void)
{
	sigset_t none;
	sigemptyset(&none);
	signal(SIGPIPE, SIG_DFL); /* without a reader, nothing is left to do */
	signal(SIGALRM, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* If one of the descriptors 0 to 2 were free, a file would get it, and messages would go into the file. */
	int fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO)
		fd = dup(fd);
	if (fd > STDERR_FILENO)
		close(fd);
	/* A damaged file may crash this process; that is no reason to write a core into the program's folder. */
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	go_first();
	if (is_filtered() && is_allowed(be_nice)) /* without a filter, shim/listener/keeper.c has done it already */
		be_nice();
	is_helper = true;
	alarm(LIFETIME_S);
}
