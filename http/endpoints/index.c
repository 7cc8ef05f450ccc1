/* index.c - the page at /debug/pprof/: all processes, stuck threads, the profiles and their counts, and losses.
 *
 * Runs in: listener. Memory of the exchange's region. The page loads nothing from elsewhere.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/answer.h"
#include "http/endpoints/html.h"
#include "http/endpoints/parameters.h"
#include "http/endpoints/processes.h"
#include "http/guard/token.h"
#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/proc.h"

enum {
	COUNT_heap = offsetof(struct snapshot_counts, heap),
	COUNT_allocs = offsetof(struct snapshot_counts, allocs),
	COUNT_threadcreate = offsetof(struct snapshot_counts, threadcreate),
	COUNT_goroutine = offsetof(struct snapshot_counts, goroutine),
	COUNT_block = offsetof(struct snapshot_counts, block),
	COUNT_mutex = offsetof(struct snapshot_counts, mutex),
	COUNT_NONE = -1,
};

/* The endpoints as the page lists them. */
static const struct row {
	const char *name;        /* below /debug/pprof/ */
	int count_offset;        /* in struct snapshot_counts, or -1 */
	unsigned takes;          /* parameters: of each the bit 1 << enum parameter_id */
	const char *description; /* "": not listed */
} rows[] = {
#define ENDPOINT(name, handler, kind, count, takes, description) {name, COUNT_##count, takes, description},
#include "http/endpoints/endpoints.def"
};
enum { ROWS = sizeof rows / sizeof *rows };

/* Returns the program's name as the kernel has it (the name of the main thread), or an empty span. /proc/self would be
 * the listener. */
static struct span read_name(char *buf, size_t cap)
{
	long n = proc_read((uint64_t)house_pid(), "/comm", buf, cap);
	while (n > 0 && buf[n - 1] == '\n')
		n--;
	return (struct span){buf, n > 0 ? (size_t)n : 0};
}

static void out_program(struct out *o)
{
	char name[32];
	out_str(o, "<p>Program <b>");
	html_text(o, read_name(name, sizeof name));
	out_str(o, "</b>, process ");
	out_dec(o, house_pid());
	out_str(o, "</p>\n");
}

static void out_table(struct out *o)
{
	const struct snapshot_counts counts = snapshot_counts();
	out_str(o, "<table>\n<thead><tr><th>Count</th><th>Profile</th></tr></thead>\n<tbody>\n");
	for (size_t i = 0; i < ROWS; i++) {
		const struct row *e = &rows[i];
		struct span name = span_of(e->name);
		uint64_t count = 0;
		if (!e->description[0])
			continue;
		if (e->count_offset >= 0)
			memcpy(&count, (const char *)&counts + e->count_offset, sizeof count);
		out_str(o, "<tr><td>");
		out_dec(o, (int64_t)count);
		out_str(o, "</td><td><a href=\"");
		html_text(o, name);
		out_str(o, "?debug=1\">");
		html_text(o, name);
		out_str(o, "</a></td></tr>\n");
	}
	out_str(o, "</tbody>\n</table>\n");
}

static void out_descriptions(struct out *o)
{
	out_str(o, "<h2>Profile descriptions</h2>\n<ul>\n");
	for (size_t i = 0; i < ROWS; i++) {
		const struct row *e = &rows[i];
		if (!e->description[0])
			continue;
		out_str(o, "<li><b>");
		html_text(o, span_of(e->name));
		out_str(o, ":</b> ");
		html_text(o, span_of(e->description));
		out_str(o, "</li>\n");
	}
	out_str(o, "</ul>\n");
}

/* The endpoints that take the parameter. */
static void out_takers(struct out *o, size_t id)
{
	const char *before = "";
	for (size_t i = 0; i < ROWS; i++) {
		if (!(rows[i].takes & 1u << id))
			continue;
		out_str(o, before);
		html_text(o, span_of(rows[i].name));
		before = ", ";
	}
}

static void out_parameters(struct out *o)
{
	out_str(o, "<h2>Parameters</h2>\n<ul>\n");
	for (size_t i = 0; i < PARAMETERS; i++) {
		const struct parameter *p = &parameters[i];
		out_str(o, "<li><code>");
		html_text(o, span_of(p->name));
		out_str(o, "=");
		html_text(o, span_of(p->values.words ? p->values.words : "N"));
		out_str(o, "</code>");
		if (p->unit[0]) {
			out_str(o, " in ");
			html_text(o, span_of(p->unit));
		}
		out_str(o, " (");
		out_takers(o, i);
		out_str(o, "): ");
		html_text(o, span_of(p->description));
		out_str(o, "</li>\n");
	}
	out_str(o, "</ul>\n");
}

/* A part of the page that is left out if it has no lines. */
struct list {
	struct out *out;
	const char *title;
	size_t count;
};

static void out_item(void *arg, const char *line)
{
	struct list *l = arg;
	if (l->count++ == 0) {
		out_str(l->out, "<h2>");
		out_str(l->out, l->title);
		out_str(l->out, "</h2>\n<ul>\n");
	}
	out_str(l->out, "<li>");
	html_text(l->out, span_of(line));
	out_str(l->out, "</li>\n");
}

static void out_losses(struct out *o)
{
	struct list l = {.out = o, .title = "Lost or not possible"};
	snapshot_losses(out_item, &l);
	if (encoder_trouble())
		out_item(&l, encoder_trouble());
	if (l.count)
		out_str(o, "</ul>\n");
}

static void out_stuck(struct region *r, struct out *o)
{
	struct list l = {.out = o, .title = "Stuck"};
	snapshot_stuck(r, out_item, &l);
	if (l.count)
		out_str(o, "</ul>\n<p><a href=\"goroutine?debug=2\">the stacks of these threads</a></p>\n");
}

static void out_open(struct exchange *x, struct out *o)
{
	if (!x->loopback && x->peer.kind == PEER_TCP && token_look() == TOKEN_NONE && !x->user[0])
		out_str(o,
		        "<p><b>Everybody who can reach this address can read this</b> and slow the program down; "
		        "set <code>PPROF_TOKEN_FILE</code>, or <code>PPROF_ADDR</code> to an address of this machine "
		        "alone.</p>\n");
}

/* The table of all processes, or on the page of one that has only joined them the way back to it. */
static void out_processes(struct exchange *x, struct out *o)
{
	if (x->is_passed)
		out_str(o, "<p><a href=\"../../../../debug/pprof/\">all processes</a></p>\n");
	else
		processes_table(x->region, o);
}

static void answer(struct exchange *x)
{
	struct out *o = &x->answer.body;
	response_begin(&x->answer, 200, TYPE_HTML);
	out_str(o, "<!DOCTYPE html>\n"
	           "<html lang=\"en\">\n"
	           "<head>\n"
	           "<meta charset=\"utf-8\">\n"
	           "<title>/debug/pprof/</title>\n"
	           "<link rel=\"icon\" href=\"data:,\">\n"
	           "<style>\n"
	           "body { font-family: sans-serif; max-width: 50em; margin: 1em auto; padding: 0 1em; }\n"
	           "td:first-child, th:first-child { text-align: right; padding-right: 1em; }\n"
	           "th { text-align: left; }\n"
	           ".processes td { vertical-align: top; padding-right: 1em; overflow-wrap: anywhere; }\n"
	           "</style>\n"
	           "</head>\n"
	           "<body>\n"
	           "<h1>/debug/pprof/</h1>\n");
	out_open(x, o);
	out_processes(x, o);
	out_program(o);
	out_stuck(x->region, o);
	out_str(o,
	        "<p>Set <code>debug=1</code> as a query parameter for the text form, <code>seconds=N</code> for what "
	        "changes within N seconds.</p>\n");
	out_table(o);
	out_str(o, "<p><a href=\"goroutine?debug=2\">full goroutine stack dump</a></p>\n");
	out_losses(o);
	out_descriptions(o);
	out_parameters(o);
	out_str(o, "</body>\n</html>\n");
}

void answer_index(struct exchange *x)
{
	if (x->is_passed)
		answer(x);
	else
		processes_ask(x, answer);
}
