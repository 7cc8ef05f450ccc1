/* symbolizer.c - start, ask and end the helper program, one at a time.
 *
 * Runs in: listener. Static state of its own; one owner, no lock. Nothing is waited for.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names/symbolizer.h"

#include <errno.h>
#include <signal.h>

#include "encoder/names/answers.h"
#include "encoder/names/helper_program.h"
#include "encoder/names/trouble.h"
#include "encoder/symbolize/protocol.h"
#include "shim/base/os.h"
#include "shim/listener/spawn.h"

#define SECOND UINT64_C(1000000000)

enum {
	WRITE_MS = 5000,       /* until it has read the questions, which it does before all else */
	SOON_MS = 5,           /* between looks at a helper that begins or ends */
	LATER_MS = 1000,       /* and at one that works */
	LIFE_SECONDS = 90,     /* then a helper is ended */
	LEFTOVERS_SECONDS = 2, /* that another listener's helper has to end */
	PARTS_AT_ONCE = 16,    /* reads in a row; then other clients are served */
	BYTES_MAX = 1 << 28,   /* of all answers of a helper */
};

/* The running helper; all zero if there is none. */
static struct {
	struct region region;
	struct spawned process;
	uint64_t begun_ns;
	struct answers answers;
	uint64_t bytes; /* of its answers so far */
	struct out questions;
	const struct out_chunk *next; /* of the questions, that the pipe has not taken yet; NULL: none */
	size_t sent;                  /* bytes of this one */
	bool is_ending;
	const char *fault; /* is_ending: why we end it; NULL: it ended by itself */
} helper;

/* The helper program at other work: symbolizer_lend. pid 0: it is not. */
static struct spawned lent;

/* ---- the end of a helper ---- */

static void forget_helper(void)
{
	region_release(&helper.region);
	memset(&helper, 0, sizeof helper);
}

/* Do not ask about objects with missing answers for a while: one made the helper fail, or nothing is known of them. */
static void blame(size_t from, size_t to)
{
	uint64_t again_ns = os_clock_ns(CLOCK_MONOTONIC) + AGAIN_SECONDS * SECOND;
	for (size_t i = from; i < to; i++)
		if (helper.answers.at[i].answered < helper.answers.at[i].asked)
			helper.answers.at[i].object->again_ns = again_ns;
}

static void end_helper(const char *fault)
{
	helper.fault = fault;
	helper.is_ending = true;
	spawn_stop(&helper.process);
}

static void finish_helper(void)
{
	bool is_done = helper.answers.is_done;
	const char *fault = helper.fault;
	int status;
	if (!spawn_has_ended(&helper.process, &status))
		return;
	if (spawn_error() < 0) {
		trouble_give_up(spawn_error());
	} else if (is_done) {
		trouble_forgive();
		blame(0, helper.answers.count);
	} else {
		bool is_killed = !fault && status > 0 &&
		                 (status & 0x7f) == SIGKILL; /* by the kernel, out of memory: the next would be, too */
		if (helper.answers.begun)
			blame(0, helper.answers.begun); /* the objects not begun can be asked about again */
		if (!helper.answers.begun || is_killed)
			trouble_rest();
		trouble_tell_end(status, fault);
	}
	forget_helper();
}

/* Write the questions as far as the pipe takes them. Returns false if the helper reads no more. */
static bool send_questions(void)
{
	while (helper.next) {
		const struct out_chunk *c = helper.next;
		long n = spawn_write(&helper.process, c->bytes + helper.sent, c->used - helper.sent);
		if (n < 0)
			return false;
		helper.sent += (size_t)n;
		if (helper.sent < c->used)
			return true;
		helper.next = c->next;
		helper.sent = 0;
	}
	spawn_close_input(&helper.process);
	return true;
}

/* Read the helper's answers, until others want to be served. Returns what the last read did. */
static long read_answers(void)
{
	char *buf = answers_room(&helper.answers);
	long n = -EAGAIN;
	for (int parts = 0; !helper.answers.is_done && parts < PARTS_AT_ONCE; parts++) {
		n = os_read(helper.process.from_fd, buf, ANSWERS_ROOM);
		if (n <= 0)
			break;
		answers_take(&helper.answers, buf, (size_t)n);
		helper.bytes += (uint64_t)n;
	}
	return n;
}

static uint64_t age_ms(void)
{
	return (os_clock_ns(CLOCK_MONOTONIC) - helper.begun_ns) / 1000000;
}

/* Give the running helper its questions, and take its answers, as far as they go now. */
static void follow_helper(void)
{
	if (!send_questions()) {
		end_helper(NULL);
		return;
	}
	if (helper.next && age_ms() > WRITE_MS) {
		end_helper(" did not read its questions and was ended; names are those of symbol tables");
		return;
	}
	long n = read_answers();
	bool has_ended = n == 0 || (n < 0 && n != -EAGAIN);
	if (helper.answers.is_done || has_ended)
		end_helper(NULL);
	else if (age_ms() > LIFE_SECONDS * 1000 || helper.bytes > BYTES_MAX)
		end_helper(" took too long, or said too much, and was ended; names are those of symbol tables");
}

/* ---- questions ---- */

/* The questions for the next helper, by object. */
struct waiting {
	struct waiting *next;
	struct question q;
};
static struct {
	struct region region;
	struct waiting *first;
	size_t count;
	uint64_t batch;    /* number of batches asked; the last one may still be at work */
	uint64_t since_ns; /* since when they wait for what an ended listener left; 0: they do not */
} queue;

static void write_hex(struct out *o, const uint8_t *bytes, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		out_bytes(o, &"0123456789abcdef"[bytes[i] >> 4], 1);
		out_bytes(o, &"0123456789abcdef"[bytes[i] & 15], 1);
	}
}

static void write_question(struct out *o, const struct question *q)
{
	out_str(o, "o ");
	write_hex(o, q->module->build_id, q->module->build_id_len);
	out_str(o, q->module->build_id_len ? "\np " : "-\np ");
	out_str(o, q->path);
	for (size_t i = 0; i < q->count; i++) {
		out_str(o, "\na ");
		out_hex(o, q->address[i]);
	}
	out_str(o, "\n");
}

static int write_questions(const struct question *q, size_t count)
{
	out_init(&helper.questions, &helper.region);
	for (size_t i = 0; i < count; i++)
		write_question(&helper.questions, &q[i]);
	helper.next = helper.questions.first;
	return helper.questions.failed ? -ENOMEM : 0;
}

static int prepare(const struct question *q, size_t count)
{
	if (answers_prepare(&helper.answers, &helper.region, q, count) < 0)
		return -ENOMEM;
	helper.begun_ns = os_clock_ns(CLOCK_MONOTONIC);
	return write_questions(q, count);
}

int symbolizer_ask(const struct question *q, size_t count)
{
	char *debug_dirs = (char *)helper_program_debug_dirs();
	char *argv[] = {helper_program_path(), SYMBOLIZE_PIPE, SYMBOLIZE_DEBUG_DIRS, debug_dirs, NULL};
	if (!debug_dirs)
		argv[2] = NULL;
	if (helper_program_is_refused())
		return -EPERM;
	int r = prepare(q, count);
	uint64_t memory_bytes = helper_program_memory_bytes();
	if (r == 0)
		r = memory_bytes < HELPER_MEMORY_LEAST ? -ENOSPC : spawn(&helper.process, argv, memory_bytes);
	if (r < 0) {
		forget_helper();
		return trouble_give_up(r);
	}
	if (!send_questions())
		end_helper(NULL);
	return 0;
}

/* ---- who waits ---- */

static const char *copy_text(const char *text)
{
	size_t n = strlen(text);
	char *copy = region_alloc(&queue.region, n + 1);
	return copy ? memcpy(copy, text, n) : NULL;
}

/* Merge the ascending addresses of both; each appears once. NULL: no memory. */
static uint64_t *merge(const struct question *a, const struct question *b, size_t *count)
{
	uint64_t *both = region_alloc(&queue.region, (a->count + b->count) * sizeof *both + 1);
	size_t i = 0, k = 0, n = 0;
	while (both && (i < a->count || k < b->count)) {
		bool is_a = k == b->count || (i < a->count && a->address[i] <= b->address[k]);
		uint64_t address = is_a ? a->address[i++] : b->address[k++];
		if (!n || both[n - 1] != address)
			both[n++] = address;
	}
	*count = n;
	return both;
}

/* Has the running helper been asked about the address, without an answer so far? */
static bool is_being_asked(const struct object *o, uint64_t address)
{
	for (size_t i = 0; i < helper.answers.count; i++)
		if (helper.answers.at[i].object == o && answers_find(&helper.answers.at[i], address))
			return true;
	return false;
}

/* Leave only the addresses that the running helper has not been asked about. False: no memory. */
static bool leave_out_asked(struct question *q)
{
	uint64_t *rest = region_alloc(&queue.region, q->count * sizeof *rest + 1);
	const struct object *o = cache_object(q->module);
	size_t n = 0;
	for (size_t i = 0; rest && i < q->count; i++)
		if (!is_being_asked(o, q->address[i]))
			rest[n++] = q->address[i];
	q->address = rest;
	q->count = n;
	return rest;
}

static bool enqueue(const struct question *q)
{
	struct waiting **at = &queue.first;
	while (*at && (*at)->q.module != q->module)
		at = &(*at)->next;
	struct waiting *w = *at, fresh = {.q = {.module = q->module}};
	size_t count;
	uint64_t *address = merge(w ? &w->q : &fresh.q, q, &count);
	if (!address)
		return false;
	if (!w) {
		fresh.q.path = copy_text(q->path);
		w = fresh.q.path ? region_alloc(&queue.region, sizeof *w) : NULL;
		if (!w)
			return false;
		*w = fresh;
		*at = w;
		queue.count++;
	}
	w->q.address = address;
	w->q.count = count;
	return true;
}

/* Start a helper with all waiting questions. */
static void ask_next(void)
{
	struct question *q = region_alloc(&queue.region, queue.count * sizeof *q + 1);
	size_t n = 0;
	for (const struct waiting *w = queue.first; q && w; w = w->next)
		q[n++] = w->q;
	queue.batch++;
	if (n)
		symbolizer_ask(q, n); /* it remembers a failure itself */
	region_release(&queue.region);
	queue.first = NULL;
	queue.count = 0;
}

/* The helper of a listener that has ended soon ends, too. Returns false if there is none, or it does not end. */
static bool waits_for_leftovers(void)
{
	uint64_t now_ns = os_clock_ns(CLOCK_MONOTONIC);
	if (!spawn_has_leftovers())
		queue.since_ns = 0;
	else if (!queue.since_ns)
		queue.since_ns = now_ns;
	return queue.since_ns && now_ns - queue.since_ns < LEFTOVERS_SECONDS * SECOND;
}

/* Is the helper program at other work? */
static bool is_lent(void)
{
	int status;
	return lent.pid && !spawn_has_ended(&lent, &status);
}

static void ask_if_free(void)
{
	if (!helper.process.pid && queue.first && !is_lent() && !waits_for_leftovers())
		ask_next();
}

int symbolizer_lend(char *const words[SYMBOLIZER_WORDS], int fd, unsigned life_s)
{
	char *argv[SYMBOLIZER_WORDS + 2] = {helper_program_path()};
	if (!helper_program_is_known())
		return -ENOENT;
	if (helper_program_is_refused())
		return -EPERM;
	if (symbolizer_poll() || is_lent() || spawn_has_leftovers())
		return -EAGAIN;
	uint64_t memory_bytes = helper_program_memory_bytes();
	for (size_t i = 0; i < SYMBOLIZER_WORDS; i++)
		argv[i + 1] = words[i];
	return memory_bytes < HELPER_MEMORY_LEAST ? -ENOSPC : spawn_on_socket(&lent, argv, memory_bytes, fd, life_s);
}

uint64_t symbolizer_queue(const struct question *q, size_t count)
{
	bool is_new = false;
	for (size_t i = 0; i < count; i++) {
		struct question rest = q[i];
		if (!leave_out_asked(&rest) || (rest.count && !enqueue(&rest)))
			return 0;
		is_new |= rest.count > 0;
	}
	if (!queue.first)
		region_release(&queue.region);
	if (!is_new)
		return queue.batch;
	uint64_t ticket = queue.batch + 1;
	ask_if_free();
	return ticket;
}

bool symbolizer_is_done(uint64_t ticket)
{
	return queue.batch > ticket || (queue.batch == ticket && !helper.process.pid);
}

bool symbolizer_poll(void)
{
	if (helper.process.pid && !helper.is_ending)
		follow_helper();
	if (helper.is_ending)
		finish_helper();
	ask_if_free();
	return helper.process.pid || queue.first;
}

unsigned symbolizer_rest_ms(void)
{
	if (!symbolizer_poll())
		return is_lent() ? LATER_MS : 0;
	return !helper.process.pid || helper.is_ending || helper.next ? SOON_MS : LATER_MS;
}

bool symbolizer_would_answer(const struct object *o)
{
	uint64_t now_ns = os_clock_ns(CLOCK_MONOTONIC);
	return helper_program_is_known() && trouble_is_over(now_ns) && now_ns >= o->again_ns;
}

void symbolizer_start(const struct encoder_options *options)
{
	forget_helper(); /* in a fork child: the parent's */
	memset(&lent, 0, sizeof lent);
	region_release(&queue.region);
	memset(&queue, 0, sizeof queue);
	trouble_reset();
	helper_program_start(options);
}
