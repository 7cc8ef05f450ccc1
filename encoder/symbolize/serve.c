/* serve.c - the listener's helper: a request from one pipe, its answer to the other (protocol.h).
 *
 * Runs in: pprofshim-symbolize. The listener has a deadline and can use a part of the answer. So answers are written
 * soon, and in whole lines.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/serve.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "encoder/symbolize/demangle.h"
#include "encoder/symbolize/dwarf/lookup.h"
#include "encoder/symbolize/protocol.h"

enum {
	LIFETIME_S = 600, /* far beyond any deadline of the listener: the last resort */
	NICER_BY = 5,
	FLUSH_NS = 100 * 1000 * 1000,
	REQUEST_MAX = 512 * 1024 * 1024, /* bytes; what comes after them is not read */
	NOTES_MAX = 3,                   /* of one kind, of an object */
	FILE_MAX = 8 * 1024 - 64,        /* bytes of a path in an `f` line; the rest is cut off */
	NAME_MAX_BYTES = 28 * 1024,
};

static_assert(FILE_MAX + 2 * NAME_MAX_BYTES + 64 <= SYMBOLIZE_LINE_MAX,
              "an f line always fits: three texts, two numbers");

/* --- the answer: lines, sent soon ------------------------------------------------------------------ */

struct reply {
	int fd;
	int error; /* a negative errno: the reader has gone */
	uint64_t sent_ns;
	size_t len;
	char bytes[4 * SYMBOLIZE_LINE_MAX];
};

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* A call on fd failed: may it be tried again? For a non-blocking pipe, wait first. */
static bool again(int fd, short events)
{
	if (errno == EAGAIN)
		return poll(&(struct pollfd){.fd = fd, .events = events}, 1, -1) >= 0 || errno == EINTR;
	return errno == EINTR;
}

static void reply_flush(struct reply *r)
{
	for (size_t done = 0; done < r->len && !r->error;) {
		ssize_t n = write(r->fd, r->bytes + done, r->len - done);
		if (n >= 0)
			done += (size_t)n;
		else if (!again(r->fd, POLLOUT))
			r->error = -errno;
	}
	r->len = 0;
	r->sent_ns = now_ns();
}

/* Make room for the longest line. Call it before a line, never within one. */
static void reply_line(struct reply *r)
{
	if (sizeof r->bytes - r->len <= SYMBOLIZE_LINE_MAX)
		reply_flush(r);
}

/* Call it before a line that begins something new; it may send. (The reader would take half of an address's frames for
 * all of them.) */
static void reply_begin(struct reply *r)
{
	reply_line(r);
	if (now_ns() - r->sent_ns >= FLUSH_NS)
		reply_flush(r);
}

/* Returns how many bytes of s to keep: at most `max`, and no half character of UTF-8. */
static size_t cut_at(const char *s, size_t max)
{
	size_t n = strnlen(s, max + 1);
	if (n <= max)
		return n;
	for (n = max; n && max - n < 4 && ((unsigned char)s[n] & 0xc0) == 0x80;)
		n--;
	return n;
}

static void reply_text(struct reply *r, const char *s, size_t max)
{
	size_t n = cut_at(s, max);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		r->bytes[r->len++] = c < 0x20 || c == 0x7f ? '?' : s[i];
	}
}

/* For numbers and letters only, so that the text is short. */
static void __attribute__((format(printf, 2, 3))) reply_format(struct reply *r, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsnprintf(r->bytes + r->len, sizeof r->bytes - r->len, format, args);
	va_end(args);
	if (n > 0)
		r->len += (size_t)n;
}

static void reply_note(struct reply *r, const char *about, const char *text)
{
	reply_begin(r);
	reply_format(r, "n ");
	if (about) {
		reply_text(r, about, FILE_MAX);
		reply_format(r, ": ");
	}
	reply_text(r, text, FILE_MAX);
	reply_format(r, "\n");
}

/* --- the request ----------------------------------------------------------------------------------- */

/* The bytes of the request; each line is a string, as '\n' became NUL. If a line has a NUL of its own, its rest counts
 * as one more line, which is harmless. */
struct request {
	char *bytes;
	size_t len;
};

static int request_read(int fd, struct request *q)
{
	size_t cap = 0;
	for (;;) {
		if (cap - q->len < 2) {
			size_t more = cap ? 2 * cap : SYMBOLIZE_LINE_MAX;
			char *bytes = realloc(q->bytes, more);
			if (!bytes)
				return -ENOMEM;
			q->bytes = bytes, cap = more;
		}
		ssize_t n = read(fd, q->bytes + q->len, cap - q->len - 1);
		if (n > 0)
			q->len += (size_t)n;
		else if (n < 0 && again(fd, POLLIN))
			continue;
		else if (n < 0)
			return -errno;
		if (n == 0 || q->len >= REQUEST_MAX)
			break;
	}
	q->bytes[q->len++] = '\n'; /* in case the last line has no end */
	for (char *p = q->bytes; (p = memchr(p, '\n', q->len - (size_t)(p - q->bytes)));)
		*p++ = '\0';
	return 0;
}

/* Returns the line at `at`, and in *next where the next one begins (q->len: there is none). */
static const char *request_line(const struct request *q, size_t at, size_t *next)
{
	const char *line = q->bytes + at;
	*next = at + strlen(line) + 1;
	return line;
}

/* Returns the text after letter and space, "" for the letter alone; NULL: the line has another letter. */
static const char *after(const char *line, char letter)
{
	if (line[0] != letter || (line[1] && line[1] != ' '))
		return NULL;
	return line[1] ? line + 2 : line + 1;
}

static bool parse_address(const char *s, uint64_t *address)
{
	uint64_t value = 0;
	size_t n = 0;
	for (; s[n]; n++) {
		int digit = s[n] >= '0' && s[n] <= '9'   ? s[n] - '0'
		            : s[n] >= 'a' && s[n] <= 'f' ? s[n] - 'a' + 10
		            : s[n] >= 'A' && s[n] <= 'F' ? s[n] - 'A' + 10
		                                         : -1;
		if (digit < 0 || value >> 60)
			return false;
		value = value << 4 | (uint64_t)digit;
	}
	*address = value;
	return n > 0;
}

/* --- names ----------------------------------------------------------------------------------------- */

/* A name that is not mangled gets no line: it is simple already. */
static void answer_names(const struct request *q, struct reply *r)
{
	size_t number = 0;
	for (size_t at = 0, next; at < q->len && !r->error; at = next) {
		const char *name = after(request_line(q, at, &next), 'd');
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
		const char *p = after(request_line(q, at, &next), 'p');
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
		const char *p = after(request_line(q, at, &next), 'p'), *reason = NULL;
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

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* Returns the object's addresses, ascending, each once (malloc). NULL: there are none (*count is 0), or no memory. */
static uint64_t *addresses_of(const struct request *q, size_t begin, size_t end, size_t *count)
{
	uint64_t address, *all;
	size_t n = 0, kept = 0;
	for (size_t at = begin, next; at < end; at = next)
		n += after(request_line(q, at, &next), 'a') != NULL;
	*count = n;
	if (n == 0 || !(all = malloc(n * sizeof *all)))
		return NULL;
	n = 0;
	for (size_t at = begin, next; at < end; at = next) {
		const char *text = after(request_line(q, at, &next), 'a');
		if (text && parse_address(text, &address))
			all[n++] = address;
	}
	qsort(all, n, sizeof *all, by_value);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || all[i] != all[i - 1])
			all[kept++] = all[i];
	*count = kept;
	return all;
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
	uint64_t *addresses = addresses_of(q, begin, end, &count);
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
		const char *build_id = after(request_line(q, at, &next), 'o');
		if (!build_id)
			continue;
		size_t end = next;
		for (size_t later; end < q->len && !after(request_line(q, end, &later), 'o');)
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

int serve(int in, int out)
{
	struct request q = {0};
	struct reply *r = calloc(1, sizeof *r);
	int error = r ? request_read(in, &q) : -ENOMEM;
	if (error == 0 && is_helper) {
		open_program(&q);
		if (!is_filtered() || is_allowed(shed_powers))
			shed_powers();
	}
	if (error == 0) {
		r->fd = out;
		r->sent_ns = now_ns();
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
