/* go_logs.c - the logs of Go's trace: what the program said, comments, and waits for locks in words.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/trace/go_logs.h"

#include <string.h>

#include "encoder/bytes/utf8.h"

static void write_log(struct go_writer *w, uint64_t tick, const char *category, uint64_t stack, struct span text)
{
	EVENT(w, GO_USER_LOG, go_delta(w, tick), 0, go_string_id(w, span_of(category)), stack);
	go_write_varint(w, text.len);
	out_span(w->out, text);
}

void go_write_log_event(struct go_writer *w, const struct trace_life *l, const struct trace_event *e, uint64_t tick)
{
	const char *end = memchr(e->text, 0, sizeof e->text), *category = trace_log_category(e->category);
	struct span raw = {e->text, end ? (size_t)(end - e->text) : sizeof e->text};
	char *text = utf8_line(w->region, raw);
	if (!text)
		w->failed = true;
	else
		write_log(w, tick, category ? category : "log", go_stack_id(w, e->stack, l),
		          (struct span){text, raw.len});
}

/* Write the comments (losses, say) at the end, on the P of a thread at work then: a viewer shows no others. */
void go_write_comments(struct go_writer *w, const struct trace_life *teller, uint64_t tick)
{
	if (w->teller != teller)
		return;
	for (size_t i = 0; i < w->snapshot->comment_count; i++) {
		struct span raw = span_of(w->snapshot->comments[i]);
		char *text = utf8_line(w->region, raw);
		if (!text)
			w->failed = true;
		else
			write_log(w, tick, "pprofshim", teller ? go_stack_id(w, NULL, teller) : 0,
			          (struct span){text, raw.len});
	}
}

/* If no thread is at work at the end, the first thread has the comments when it starts. */
void go_choose_teller(struct go_writer *w)
{
	w->teller = w->order.count ? w->order.lives : NULL;
	for (size_t i = w->order.count; i-- > 0;)
		if (trace_life_lasts_at_work(&w->order.lives[i]))
			w->teller = &w->order.lives[i];
}

static bool is_lock_call(const char *call)
{
	return span_starts(span_of(call), "pthread_mutex_") || span_starts(span_of(call), "pthread_rwlock_");
}

static void print_milliseconds(struct line *l, uint64_t ns)
{
	uint64_t us = ns / 1000 % 1000;
	line_dec(l, (int64_t)(ns / 1000000));
	line_str(l, us < 10 ? ".00" : us < 100 ? ".0" : ".");
	line_dec(l, (int64_t)us);
	line_str(l, " ms");
}

/* "pthread_mutex_lock 0x55d0 1.234 ms, let go by worker [1234]" */
void go_write_contention(struct go_writer *w, const struct trace_life *l, const struct trace_item *wait)
{
	const struct trace_event *e = wait->event;
	const char *call = e && e->kind == TRACE_SYNC ? trace_call_name(e->call) : NULL;
	if (!call || !e->object || !is_lock_call(call))
		return;
	char text[256];
	struct line line = LINE(text);
	line_str(&line, call);
	line_str(&line, " 0x");
	line_hex(&line, e->object);
	line_str(&line, " ");
	print_milliseconds(&line,
	                   wait->end_ns - (e->start_ns && e->start_ns < wait->start_ns ? e->start_ns : wait->start_ns));
	const struct trace_life *by = e->other_tid ? trace_order_alive(&w->order, e->other_tid, e->woken_ns) : NULL;
	if (by) {
		line_str(&line, ", let go by ");
		line_str(&line, by->name);
		line_str(&line, " [");
		line_dec(&line, by->tid);
		line_str(&line, "]");
	}
	write_log(w, w->now, "contention", go_stack_id(w, e->stack, l), (struct span){line.at, line.len});
}
