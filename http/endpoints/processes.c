/* processes.c - the table of the processes behind the door: for the index page, and as JSON.
 *
 * Runs in: listener. Memory of the exchange's region; nothing here waits. What processes say of themselves is text of
 * others: it is escaped.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/processes.h"

#include "encoder/bytes/utf8.h"
#include "http/door/door.h"
#include "http/door/status.h"
#include "http/endpoints/answer.h"
#include "http/endpoints/html.h"
#include "shim/base/os.h"

enum {
	ANSWER_MS = 300,
	LOOK_MS = 5,
};

/* ---- asking ---- */

struct asking {
	void (*done)(struct exchange *x);
	uint64_t until_ns;
};

static void look(struct exchange *x)
{
	const struct asking *a = x->own;
	uint64_t now_ns = os_clock_ns(CLOCK_MONOTONIC);
	if (door_silent() && now_ns < a->until_ns)
		answer_pause(x, look, now_ns + LOOK_MS * UINT64_C(1000000), a->until_ns);
	else
		a->done(x);
}

void processes_ask(struct exchange *x, void (*done)(struct exchange *x))
{
	struct asking *a = answer_own(x, sizeof *a);
	if (!a)
		return;
	a->done = done;
	a->until_ns = os_clock_ns(CLOCK_MONOTONIC) + ANSWER_MS * UINT64_C(1000000);
	door_ask_all();
	look(x);
}

/* ---- order ---- */

/* What a person looks for: what is stuck, what is busy, what is large. */
static bool is_before(const struct door_process *a, const struct door_process *b)
{
	if (!a->status.deadlocks != !b->status.deadlocks)
		return a->status.deadlocks;
	if (a->status.cpu_ms != b->status.cpu_ms)
		return a->status.cpu_ms > b->status.cpu_ms;
	return a->status.rss_bytes > b->status.rss_bytes;
}

/* What a process says of itself may be any bytes. (The copy is as long.) */
static bool make_text(struct region *r, char *text)
{
	const char *copy = utf8_copy(r, span_of(text));
	if (copy)
		memcpy(text, copy, strlen(text));
	return copy;
}

static bool make_texts(struct region *r, struct protocol_status *s)
{
	return make_text(r, s->program) && make_text(r, s->command) && make_text(r, s->warning);
}

/* Returns the processes in the order of the table; NULL: no memory. */
static const struct door_process **sorted(struct region *r, size_t *count)
{
	struct door_process *list = door_list(r, count);
	const struct door_process **order = region_alloc(r, (*count + 1) * sizeof *order);
	if (!list || !order)
		return NULL;
	for (size_t i = 0; i < *count; i++) {
		size_t at = i;
		if (!make_texts(r, &list[i].status))
			return NULL;
		for (; at > 0 && is_before(&list[i], order[at - 1]); at--)
			order[at] = order[at - 1];
		order[at] = &list[i];
	}
	return order;
}

/* ---- for people ---- */

static bool is_shell(const char *program)
{
	static const char *const names[] = {"sh",  "bash", "dash",      "ash",      "zsh",
	                                    "ksh", "tini", "dumb-init", "s6-svscan"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(program, names[i]) == 0)
			return true;
	return false;
}

struct listing {
	const struct door_process *const *list;
	size_t count;
};

/* Returns the nearest process above that is listed; a shell that waits is not, mostly. NULL: none is. */
static const struct door_process *above(const struct listing *l, const struct door_process *p)
{
	enum { UNLISTED_MOST = 4 };
	int32_t pid = p->parent;
	for (size_t n = 0; pid > 0 && n <= UNLISTED_MOST; n++, pid = status_parent_of(pid))
		for (size_t i = 0; i < l->count; i++)
			if (l->list[i]->pid == pid)
				return l->list[i];
	return NULL;
}

/* Returns the one child of a shell; NULL: it is no shell, or has not one child. */
static const struct door_process *only_child(const struct listing *l, const struct door_process *shell)
{
	const struct door_process *child = NULL;
	if (!is_shell(shell->status.program))
		return NULL;
	for (size_t i = 0; i < l->count; i++)
		if (above(l, l->list[i]) == shell) {
			if (child)
				return NULL;
			child = l->list[i];
		}
	return child;
}

/* Returns what the shell that has the door waits for, though it be by other shells; NULL: nothing. */
static const struct door_process *waits_for(const struct listing *l)
{
	enum { SHELLS_MOST = 4 };
	const struct door_process *child = NULL, *next = NULL;
	for (size_t i = 0; i < l->count; i++)
		next = l->list[i]->is_self ? l->list[i] : next;
	for (size_t n = 0; next && n <= SHELLS_MOST; n++) {
		next = only_child(l, next);
		child = next ? next : child;
	}
	return child;
}

static void out_link(struct out *o, const struct door_process *p, const char *text)
{
	out_str(o, "<a href=\"../../pid/");
	out_str(o, p->name);
	out_str(o, "/debug/pprof/\">");
	html_text(o, span_of(text));
	out_str(o, "</a>");
}

static void out_child(struct out *o, const struct door_process *p)
{
	out_str(o, "<p>This process is a shell that waits for its one child: <b>");
	out_link(o, p, p->status.program[0] ? p->status.program : p->name);
	out_str(o, "</b></p>\n");
}

/* With one digit behind the point. */
static void out_tenths(struct out *o, uint64_t tenths, const char *unit)
{
	out_dec(o, (int64_t)(tenths / 10));
	out_str(o, ".");
	out_dec(o, (int64_t)(tenths % 10));
	out_str(o, unit);
}

static void out_time(struct out *o, uint64_t ms)
{
	if (ms < 100 * 1000)
		out_tenths(o, ms / 100, " s");
	else if (ms < 100 * 60 * 1000)
		out_tenths(o, ms / 6000, " min");
	else
		out_tenths(o, ms / 360000, " h");
}

static void out_bytes_of(struct out *o, uint64_t bytes)
{
	out_tenths(o, bytes * 10 >> 20, " MiB");
}

static void out_cell(struct out *o)
{
	out_str(o, "</td><td>");
}

static void out_warnings(struct out *o, const struct door_process *p)
{
	if (!p->is_told)
		out_str(o, "<b>does not answer</b> ");
	if (p->status.deadlocks)
		out_str(o, "<b>DEADLOCK</b>");
	else if (p->status.warning[0])
		html_text(o, span_of(p->status.warning));
}

static void out_row(struct out *o, const struct door_process *p)
{
	const struct protocol_status *s = &p->status;
	out_str(o, "<tr><td>");
	out_link(o, p, p->name);
	out_cell(o);
	html_text(o, span_of(s->program));
	out_cell(o);
	html_text(o, span_of(s->command));
	out_cell(o);
	out_time(o, s->age_ms);
	out_cell(o);
	out_bytes_of(o, s->rss_bytes);
	out_cell(o);
	out_bytes_of(o, s->live_bytes);
	out_cell(o);
	out_time(o, s->cpu_ms);
	out_cell(o);
	out_dec(o, s->threads);
	out_cell(o);
	out_warnings(o, p);
	out_str(o, "</td></tr>\n");
}

static void out_refused(struct out *o)
{
	if (!door_refused())
		return;
	out_str(o, "<p><b>");
	out_dec(o, (int64_t)door_refused());
	out_str(o, " processes found no room</b>: at most 1000 share a port. They have ports of their own.</p>\n");
}

void processes_table(struct region *r, struct out *o)
{
	size_t count;
	const struct door_process **list = sorted(r, &count);
	if (!list)
		return;
	const struct door_process *child = waits_for(&(struct listing){list, count});
	if (child)
		out_child(o, child);
	out_str(o,
	        "<table class=\"processes\">\n<thead><tr><th>Process</th><th>Program</th><th>Command</th><th>Age</th>"
	        "<th>Resident</th><th>Live heap</th><th>CPU</th><th>Threads</th><th>Warnings</th></tr></thead>\n"
	        "<tbody>\n");
	for (size_t i = 0; i < count; i++)
		out_row(o, list[i]);
	out_str(o, "</tbody>\n</table>\n");
	out_refused(o);
	out_str(o,
	        "<p>The pages of a process are at <code>/pid/PROCESS/debug/pprof/</code>; <a href=\"../../pid/\">/pid/"
	        "</a> is this table as JSON. A process that has not read a request in 10 seconds is stopped or frozen: "
	        "the answer is 504.</p>\n");
}

/* ---- for programs ---- */

static void out_control(struct out *o, unsigned char c)
{
	static const char digits[] = "0123456789abcdef";
	const char text[] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
	out_bytes(o, text, sizeof text);
}

static void out_json(struct out *o, const char *text)
{
	out_str(o, "\"");
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == '"' || *text == '\\' || *text == 0x7f)
			out_control(o, (unsigned char)*text);
		else
			out_bytes(o, text, 1);
	out_str(o, "\"");
}

static void out_number(struct out *o, const char *key, uint64_t value)
{
	out_str(o, ", \"");
	out_str(o, key);
	out_str(o, "\": ");
	out_dec(o, (int64_t)value);
}

static void out_text(struct out *o, const char *key, const char *value)
{
	out_str(o, ", \"");
	out_str(o, key);
	out_str(o, "\": ");
	out_json(o, value);
}

/* The number that its name begins with. */
static uint64_t number_of(const struct door_process *p)
{
	uint64_t pid;
	struct span rest = span_of(p->name), name = span_cut(&rest, '-');
	return text_parse_uint(name, 10, &pid) ? pid : 0;
}

static void out_object(struct out *o, const struct door_process *p)
{
	const struct protocol_status *s = &p->status;
	out_str(o, "{\"name\": ");
	out_json(o, p->name);
	out_number(o, "pid", number_of(p));
	out_text(o, "process", s->program); /* as the label is called, and as the table has it */
	out_text(o, "program", s->program);
	out_text(o, "command", s->command);
	out_number(o, "age_ms", s->age_ms);
	out_number(o, "resident_bytes", s->rss_bytes);
	out_number(o, "live_heap_bytes", s->live_bytes);
	out_number(o, "cpu_ms", s->cpu_ms);
	out_number(o, "threads", s->threads);
	out_number(o, "deadlocks", s->deadlocks);
	out_number(o, "losses", s->losses);
	out_text(o, "warning", s->warning);
	out_str(o, p->is_told ? ", \"answers\": true" : ", \"answers\": false");
	out_str(o, p->is_self ? ", \"has_port\": true" : ", \"has_port\": false");
	out_str(o, ", \"path\": \"/pid/");
	out_str(o, p->name);
	out_str(o, "/debug/pprof/\"}");
}

static void answer_json(struct exchange *x)
{
	struct out *o = &x->answer.body;
	size_t count;
	const struct door_process **list = sorted(x->region, &count);
	if (!list) {
		answer_failure(x, -ENOMEM);
		return;
	}
	response_begin(&x->answer, 200, "application/json");
	out_str(o, "{\"processes\": [\n");
	for (size_t i = 0; i < count; i++) {
		out_object(o, list[i]);
		out_str(o, i + 1 < count ? ",\n" : "\n");
	}
	out_str(o, "], \"refused\": ");
	out_dec(o, (int64_t)door_refused());
	out_str(o, "}\n");
}

void processes_answer_json(struct exchange *x)
{
	processes_ask(x, answer_json);
}
