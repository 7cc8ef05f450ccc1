/* tasks.c - the threads of this process as the kernel has them.
 *
 * Runs in: listener. System calls alone; the state is its own.
 *
 * Formats: proc(5): task/<tid>/{comm,stat,status,sched,syscall}. "syscall" of a blocked thread is its number, six
 * arguments (hexadecimal), stack pointer and program counter; of one that could run, the word "running".
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/threads/tasks.h"

#include "shim/base/shared.h"
#include "shim/libc/clock.h"
#include "shim/base/layout.h"
#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/proc.h"
#include "shim/base/powers.h"

static SHARED(const shared_int *) ours[TASKS_OURS];

void tasks_hide(enum tasks_ours which, const shared_int *tid)
{
	shared_store_relaxed(&ours[which], tid);
}

static bool is_ours(int tid)
{
	for (int i = 0; i < TASKS_OURS; i++) {
		const shared_int *at = shared_load_relaxed(&ours[i]);
		if (at && shared_load_relaxed(at) == tid)
			return true;
	}
	return false;
}

/* Begin with the folder of the program's threads; the listener has another one. */
static void begin_path(struct line *l)
{
	proc_put_program(l, "/task");
}

static void (*each_otherwise)(void (*each)(void *arg, int tid), void *arg); /* immutable after init */

void tasks_otherwise(void (*each_known)(void (*each)(void *arg, int tid), void *arg))
{
	each_otherwise = each_known;
}

void tasks_each(void (*each)(void *arg, int tid), void *arg)
{
	_Alignas(struct os_dir_entry) char buf[4096];
	char path[64];
	struct line l = LINE(path);
	begin_path(&l);
	int dir = (int)os_open(path, O_RDONLY | O_DIRECTORY);
	if (dir < 0) {
		if (each_otherwise && !proc_is_there())
			each_otherwise(each, arg);
		return;
	}
	for (long n; (n = os_call(SYS_getdents64, dir, buf, sizeof buf)) > 0;)
		for (long at = 0; at < n;) {
			const struct os_dir_entry *e = (const void *)(buf + at);
			uint64_t tid;
			if (text_parse_uint(span_of(e->name), 10, &tid) && !is_ours((int)tid))
				each(arg, (int)tid);
			at += e->bytes;
		}
	os_close(dir);
}

static void count_one(void *arg, int tid)
{
	(void)tid;
	++*(size_t *)arg;
}

size_t tasks_count(void)
{
	size_t n = 0;
	tasks_each(count_one, &n);
	return n;
}

struct tids {
	struct region *region;
	int *at;
	size_t count, cap;
};

static void keep_one(void *arg, int tid)
{
	struct tids *t = arg;
	if (t->count == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 256;
		int *at = region_alloc(t->region, cap * sizeof *at);
		if (!at)
			return; /* the other threads are not told */
		if (t->count)
			memcpy(at, t->at, t->count * sizeof *at);
		t->at = at;
		t->cap = cap;
	}
	t->at[t->count++] = tid;
}

int *tasks_list(struct region *r, size_t *count)
{
	struct tids t = {.region = r};
	tasks_each(keep_one, &t);
	*count = t.count;
	return t.at;
}

static long read_file(const char *path, char *buf, size_t cap)
{
	int fd = (int)os_open(path, O_RDONLY);
	if (fd < 0)
		return fd;
	long n = os_read(fd, buf, cap - 1);
	os_close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return n;
}

long tasks_read(int tid, const char *file, char *buf, size_t cap)
{
	char path[64];
	struct line l = LINE(path);
	begin_path(&l);
	line_str(&l, "/");
	line_dec(&l, tid);
	line_str(&l, "/");
	line_str(&l, file);
	return read_file(path, buf, cap);
}

const char *tasks_name(struct region *r, int tid)
{
	char name[32];
	long n = tasks_read(tid, "comm", name, sizeof name);
	if (n > 0 && name[n - 1] == '\n')
		n--;
	char *copy = n > 0 ? region_alloc(r, (size_t)n + 1) : NULL;
	return copy ? memcpy(copy, name, (size_t)n) : NULL;
}

/* Returns the letter in "tid (any name) S …": after the last parenthesis. */
static char state_letter(int tid)
{
	char text[256];
	long n = tasks_read(tid, "stat", text, sizeof text);
	while (n > 0 && text[n - 1] != ')')
		n--;
	return n > 0 && text[n] == ' ' ? text[n + 1] : '\0';
}

static bool next_number(struct span *rest, uint64_t *value)
{
	return text_parse_uint(span_cut(rest, ' '), 0, value);
}

/* "202 0x.. 0x.. 0x.. 0x.. 0x.. 0x.. 0xsp 0xpc", or "-1 0xsp 0xpc" outside a system call. */
static bool parse_blocked(struct span text, struct task *t)
{
	uint64_t v, sp, pc;
	struct span first = span_cut(&text, ' ');
	int64_t nr;
	if (!text_parse_int(first, &nr))
		return false;
	t->nr = (int)nr;
	for (int i = 0; nr >= 0 && i < 6; i++) {
		if (!next_number(&text, &v))
			return false;
		t->args[i] = v;
	}
	if (!next_number(&text, &sp) || !next_number(&text, &pc))
		return false;
	t->sp = sp;
	t->pc = pc;
	return true;
}

/* The kernel tells this only to a process that may trace the program. The listener may if it uses all capabilities that
 * the program has. */
static long read_blocked(int tid, char *buf, size_t cap)
{
	long n = tasks_read(tid, "syscall", buf, cap);
	if (n != -EPERM && n != -EACCES)
		return n;
	bool were = powers_use(true);
	n = tasks_read(tid, "syscall", buf, cap);
	powers_use(were);
	return n;
}

static bool has_ended(char letter)
{
	return letter == '\0' || letter == 'Z' || letter == 'X';
}

struct task tasks_look(int tid)
{
	char text[256];
	struct task t = {.state = TASK_BLOCKED};
	long n = read_blocked(tid, text, sizeof text);
	while (n > 0 && text[n - 1] == '\n')
		text[--n] = '\0';
	bool is_blocked = n > 0 && parse_blocked(span_of(text), &t);
	if (is_blocked && (t.sp || t.pc))
		return t;
	char letter = state_letter(tid); /* a thread without registers has ended, or never was in the program's code */
	if (!letter && !proc_is_there())
		t.state = os_call(SYS_tgkill, house_pid(), tid, 0) == -ESRCH ? TASK_GONE : TASK_SLEEPS;
	else if (has_ended(letter))
		t.state = TASK_GONE;
	else if (!is_blocked)
		t.state = letter == 'R' || n > 0 ? TASK_RUNS : TASK_SLEEPS;
	return t;
}

/* Returns the value of the line that begins with `key`: the text after the last colon. */
struct span tasks_value(const char *text, const char *key)
{
	struct span rest = span_of(text);
	while (rest.len) {
		struct span line = span_cut(&rest, '\n');
		if (!span_starts(line, key))
			continue;
		span_cut(&line, ':');
		return span_trim(line);
	}
	return (struct span){0};
}

/* Returns a time of the scheduler's, as "11759105.372617" milliseconds; negative if it isn't told. se.exec_start is
 * when a thread last ran. */
static int64_t scheduler_ns(const char *text, const char *key)
{
	struct span fraction = tasks_value(text, key);
	uint64_t ms, ns;
	struct span whole = span_cut(&fraction, '.');
	if (!text_parse_uint(whole, 10, &ms) || fraction.len != 6 || !text_parse_uint(fraction, 10, &ns))
		return -1;
	return (int64_t)(ms * 1000000 + ns);
}

/* The scheduler's clock of a processor leaves out the time that interrupts and other machines took there, so each
 * processor has its own. The listener learns the distance to CLOCK_MONOTONIC by going there. */
enum { PROCESSORS_MOST = 1024, FRESH_NS = 5000000 };
static struct {
	int64_t behind_ns;   /* how far its clock is behind CLOCK_MONOTONIC */
	uint64_t learned_ns; /* CLOCK_MONOTONIC */
} clocks[PROCESSORS_MOST] LARGE;

/* Returns how far this processor's clock is behind, or a little more if this thread lost the processor meanwhile. */
static int64_t behind_here(void)
{
	enum { TRIES = 3, GOOD_NS = 200000 };
	char text[512];
	int64_t least = INT64_MAX;
	for (int i = 0; i < TRIES; i++) {
		uint64_t begun = clock_ns(CLOCK_MONOTONIC);
		int64_t then = read_file("/proc/thread-self/sched", text, sizeof text) > 0
		                       ? scheduler_ns(text, "se.exec_start")
		                       : -1;
		uint64_t now = clock_ns(CLOCK_MONOTONIC);
		if (then >= 0 && (int64_t)now - then < least)
			least = (int64_t)now - then;
		if (now - begun < GOOD_NS)
			break;
	}
	return least;
}

static bool learn_clock(unsigned processor)
{
	uint64_t before[PROCESSORS_MOST / 64] = {0}, there[PROCESSORS_MOST / 64] = {0};
	long bytes = os_call(SYS_sched_getaffinity, 0, sizeof before, before);
	there[processor / 64] = (uint64_t)1 << processor % 64;
	if (bytes <= 0 || !(before[processor / 64] & there[processor / 64]) ||
	    os_call(SYS_sched_setaffinity, 0, sizeof there, there) < 0)
		return false;
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	int64_t behind = behind_here();
	os_call(SYS_sched_setaffinity, 0, bytes, before);
	clocks[processor].behind_ns = behind;
	clocks[processor].learned_ns = now;
	return behind != INT64_MAX;
}

/* Reads a field of stat, by proc(5)'s number, of those behind the name. */
static bool read_field(int tid, int number, uint64_t *value)
{
	char text[1024];
	long n = tasks_read(tid, "stat", text, sizeof text);
	while (n > 0 && text[n - 1] != ')')
		n--;
	struct span rest = span_of(n > 0 ? text + n : "");
	for (int field = 2; field < number; field++)
		span_cut(&rest, ' ');
	return text_parse_uint(span_cut(&rest, ' '), 10, value);
}

static bool last_processor(int tid, unsigned *processor)
{
	enum { PROCESSOR = 39 };
	uint64_t value;
	if (!read_field(tid, PROCESSOR, &value) || value >= PROCESSORS_MOST)
		return false;
	*processor = (unsigned)value;
	return true;
}

/* The flags are the kernel's PF_IO_WORKER and PF_USER_WORKER (linux/sched.h). */
bool tasks_is_kernels(int tid)
{
	enum { FLAGS = 9, WORKERS = 0x10 | 0x4000 };
	uint64_t flags;
	return read_field(tid, FLAGS, &flags) && (flags & WORKERS);
}

/* A clock falls further behind as time goes by. If it was learned before the thread blocked, the thread would seem to
 * have blocked earlier than it did, by at most the time since then. To seem later does no harm. */
static int64_t idle_by(unsigned processor, int64_t then, uint64_t now)
{
	int64_t age = (int64_t)(now - clocks[processor].learned_ns),
		idle = (int64_t)now - clocks[processor].behind_ns - then;
	if (age > 0 && idle < age)
		idle -= age;
	return idle > 0 ? idle : 0;
}

int64_t tasks_idle_ns(int tid, uint64_t *cpu_ns)
{
	char text[512];
	unsigned processor;
	bool tells = tasks_read(tid, "sched", text, sizeof text) > 0;
	int64_t then = tells ? scheduler_ns(text, "se.exec_start") : -1,
		used = tells ? scheduler_ns(text, "se.sum_exec_runtime") : -1;
	if (cpu_ns)
		*cpu_ns = used > 0 ? (uint64_t)used : 0;
	if (then < 0 || !last_processor(tid, &processor))
		return -1;
	uint64_t now = clock_ns(CLOCK_MONOTONIC), learned = clocks[processor].learned_ns;
	int64_t idle = idle_by(processor, then, now);
	if (learned && (now - learned < FRESH_NS || idle > (int64_t)(now - learned)))
		return idle;
	return learn_clock(processor) ? idle_by(processor, then, now) : -1;
}

/* The last field of "stat" is wait(2)'s status. It is 0 for a reader without the program's capabilities. */
int tasks_exit_status(int tid)
{
	char text[1024];
	uint64_t status = 0;
	bool were = powers_use(true);
	long n = tasks_read(tid, "stat", text, sizeof text), begin;
	powers_use(were);
	while (n > 0 && text[n - 1] == '\n')
		text[--n] = '\0';
	for (begin = n; begin > 0 && text[begin - 1] != ' '; begin--)
		continue;
	return text_parse_uint(span_of(text + begin), 10, &status) ? (int)(status >> 8 & 0xff) : 0;
}

uint64_t tasks_sleeps(int tid)
{
	char text[2048];
	uint64_t n = 0;
	if (tasks_read(tid, "status", text, sizeof text) > 0)
		text_parse_uint(tasks_value(text, "voluntary_ctxt_switches"), 10, &n);
	return n;
}

static bool read_mask(int tid, const char *key, uint64_t *mask)
{
	char text[2048];
	return tasks_read(tid, "status", text, sizeof text) > 0 && text_parse_uint(tasks_value(text, key), 16, mask);
}

bool tasks_blocks(int tid, int sig)
{
	uint64_t mask;
	return read_mask(tid, "SigBlk", &mask) && mask >> (sig - 1) & 1;
}

bool tasks_catches(int tid, int sig)
{
	uint64_t caught, blocked;
	return read_mask(tid, "SigCgt", &caught) && read_mask(tid, "SigBlk", &blocked) &&
	       (caught & ~blocked) >> (sig - 1) & 1;
}
