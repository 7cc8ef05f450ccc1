/* perfetto.c - an execution trace for ui.perfetto.dev: a protobuf of TracePackets (encoder/FORMATS.md; the field
 * numbers are those of perfetto's public protos/perfetto/trace).
 *
 * Runs in: listener. All memory from the request's region.
 *
 * Each thread's life has a track and a packet sequence of its own, with times in order. Waits are slices, everything
 * else is an instant. Another sequence has the clocks, the process, the heap as a counter, and the losses.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/trace/trace.h"

#include <errno.h>

#include "encoder/bytes/utf8.h"
#include "encoder/trace/perfetto_writer.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"

static const char *const wait_category[TRACE_WAITS] = {
	[TRACE_SYNC] = "sync",     [TRACE_COND] = "cond",   [TRACE_NET] = "net",
	[TRACE_SELECT] = "select", [TRACE_SLEEP] = "sleep", [TRACE_SYSCALL] = "syscall",
};

/* ---- a thread ---- */

static void write_track(struct perfetto_writer *w, const struct trace_life *l)
{
	struct message *m = &w->event;
	message_uint(&w->part, THREAD_PID, w->pid);
	message_uint(&w->part, THREAD_TID, l->tid > 0 ? (uint64_t)l->tid : 0);
	message_str(&w->part, THREAD_NAME, l->name);
	message_uint(m, TRACK_UUID, perfetto_track_of(w, l));
	message_part(m, TRACK_THREAD, &w->part);
	message_part(&w->packet, PACKET_TRACK_DESCRIPTOR, m);
	perfetto_write_packet(w, l, STATE_CLEARED);
}

static void write_begin(struct perfetto_writer *w, const struct trace_life *l, const struct trace_item *wait)
{
	const struct trace_event *e = wait->event;
	const char *call = e ? trace_call_name(e->call) : NULL;
	perfetto_put_head(w, perfetto_track_of(w, l), TYPE_BEGIN, e ? wait_category[e->kind] : NULL,
	                  span_of(call ? call : "blocked"));
	if (e) {
		perfetto_put_object(w, e);
		perfetto_put_thread(w, "woken by", e->other_tid, e->woken_ns);
		perfetto_put_stack(w, l, e->stack);
	}
	perfetto_write_event(w, l, wait->start_ns);
}

/* End a slice. A wait that is not over ends with the trace, as slices need both a begin and an end. */
static void write_end(struct perfetto_writer *w, const struct trace_life *l, const struct trace_item *wait)
{
	perfetto_put_head(w, perfetto_track_of(w, l), TYPE_END, NULL, SPAN(""));
	perfetto_write_event(w, l, wait->end_ns == TRACE_LASTS ? w->order.end_ns : wait->end_ns);
}

static void write_sample(struct perfetto_writer *w, const struct trace_life *l, const struct trace_item *point)
{
	const struct stack *stack = point->event->stack;
	struct span leaf = SPAN("CPU sample");
	if (stack && stack->depth)
		leaf = w->frames.frames[trace_frames_number(&w->frames, stack, 0)].function;
	perfetto_put_head(w, perfetto_track_of(w, l), TYPE_INSTANT, "cpu", leaf);
	perfetto_put_stack(w, l, stack);
	perfetto_write_event(w, l, point->start_ns);
}

static void write_log(struct perfetto_writer *w, const struct trace_life *l, const struct trace_item *point)
{
	const struct trace_event *e = point->event;
	const char *end = memchr(e->text, 0, sizeof e->text), *category = trace_log_category(e->category);
	struct span raw = {e->text, end ? (size_t)(end - e->text) : sizeof e->text};
	char *text = utf8_line(w->region, raw);
	if (!text) {
		w->failed = true;
		return;
	}
	perfetto_put_head(w, perfetto_track_of(w, l), TYPE_INSTANT, category ? category : "log",
	                  (struct span){text, raw.len});
	perfetto_put_stack(w, l, e->stack);
	perfetto_write_event(w, l, point->start_ns);
}

static void write_point(struct perfetto_writer *w, const struct trace_life *l, const struct trace_item *point)
{
	if (point->event->kind == TRACE_CPU)
		write_sample(w, l, point);
	else if (point->event->kind == TRACE_LOG)
		write_log(w, l, point);
}

static void write_birth(struct perfetto_writer *w, const struct trace_life *l)
{
	if (l->was_there)
		return;
	perfetto_put_head(w, perfetto_track_of(w, l), TYPE_INSTANT, "thread", SPAN("begins"));
	if (l->born) {
		perfetto_put_thread(w, "created by", l->born->creator_tid, l->born->created_ns);
		perfetto_put_stack(w, l, l->born->stack);
	}
	perfetto_write_event(w, l, l->start_ns);
}

static void write_death(struct perfetto_writer *w, const struct trace_life *l)
{
	if (!l->has_ended)
		return;
	perfetto_put_head(w, perfetto_track_of(w, l), TYPE_INSTANT, "thread", SPAN("ends"));
	perfetto_write_event(w, l, l->end_ns);
}

static void write_life(struct perfetto_writer *w, const struct trace_life *l)
{
	const struct trace_item *p = l->points, *points_end = p + l->point_count;
	write_track(w, l);
	write_birth(w, l);
	for (const struct trace_item *wait = l->waits; wait < l->waits + l->wait_count; wait++) {
		for (; p < points_end && p->start_ns <= wait->start_ns; p++)
			write_point(w, l, p);
		write_begin(w, l, wait);
		for (; p < points_end && p->start_ns < wait->end_ns; p++)
			write_point(w, l, p);
		write_end(w, l, wait);
	}
	for (; p < points_end; p++)
		write_point(w, l, p);
	write_death(w, l);
}

/* ---- what is not a thread's ---- */

static void put_clock(struct perfetto_writer *w, unsigned id, int clock)
{
	message_uint(&w->part, CLOCK_ID, id);
	message_uint(&w->part, CLOCK_TIMESTAMP, os_clock_ns(clock));
	message_part(&w->event, SNAPSHOT_CLOCKS, &w->part);
}

/* Write all clocks at one moment, so that the viewer can show the time of day. */
static void write_clocks(struct perfetto_writer *w)
{
	put_clock(w, PERFETTO_MONOTONIC, CLOCK_MONOTONIC);
	put_clock(w, PERFETTO_BOOTTIME, CLOCK_BOOTTIME);
	put_clock(w, PERFETTO_REALTIME, CLOCK_REALTIME);
	message_uint(&w->event, SNAPSHOT_PRIMARY, PERFETTO_MONOTONIC);
	message_part(&w->packet, PACKET_CLOCK_SNAPSHOT, &w->event);
	perfetto_write_packet(w, NULL, STATE_CLEARED);
}

/* Returns the name of the program's file, without its folders. */
static struct span program_name(struct perfetto_writer *w)
{
	const struct module_list *modules = &w->frames.names.modules;
	struct span path = modules->count ? names_shown_path(&w->frames.names, modules->at[0]) : SPAN("");
	while (path.len && memchr(path.at, '/', path.len))
		span_cut(&path, '/');
	char *name = utf8_line(w->region, path);
	if (!name)
		w->failed = true;
	return name ? (struct span){name, path.len} : SPAN("");
}

static void write_process(struct perfetto_writer *w)
{
	struct span name = program_name(w);
	message_uint(&w->part, PROCESS_PID, w->pid);
	if (name.len)
		message_bytes(&w->part, PROCESS_NAME, name);
	message_uint(&w->event, TRACK_UUID, PROCESS_TRACK);
	message_part(&w->event, TRACK_PROCESS, &w->part);
	message_part(&w->packet, PACKET_TRACK_DESCRIPTOR, &w->event);
	perfetto_write_packet(w, NULL, STATE_NEEDED);
}

static void write_in_use(struct perfetto_writer *w, uint64_t ns, uint64_t in_use)
{
	perfetto_put_head(w, HEAP_TRACK, TYPE_COUNTER, NULL, SPAN(""));
	message_uint(&w->event, EVENT_COUNTER_VALUE, in_use);
	perfetto_write_event(w, NULL, ns);
}

static void write_heap(struct perfetto_writer *w)
{
	uint64_t in_use = w->snapshot->in_use_bytes;
	size_t count;
	const struct trace_item **heap = trace_order_heap(&w->order, w->region, &count);
	message_uint(&w->part, COUNTER_UNIT, UNIT_BYTES);
	message_uint(&w->event, TRACK_UUID, HEAP_TRACK);
	message_uint(&w->event, TRACK_PARENT, PROCESS_TRACK);
	message_str(&w->event, TRACK_NAME, "heap in use");
	message_part(&w->event, TRACK_COUNTER, &w->part);
	message_part(&w->packet, PACKET_TRACK_DESCRIPTOR, &w->event);
	perfetto_write_packet(w, NULL, STATE_NEEDED);
	write_in_use(w, w->order.begin_ns, in_use);
	for (size_t i = 0; heap && i < count; i++) {
		in_use = trace_heap_after(in_use, heap[i]->event);
		write_in_use(w, heap[i]->start_ns, in_use);
	}
	write_in_use(w, w->order.end_ns, in_use); /* else the counter would seem to end at the last change */
	if (!heap)
		w->failed = true;
}

static void write_comments(struct perfetto_writer *w)
{
	for (size_t i = 0; i < w->snapshot->comment_count; i++) {
		struct span raw = span_of(w->snapshot->comments[i]);
		char *text = utf8_line(w->region, raw);
		if (!text) {
			w->failed = true;
			return;
		}
		perfetto_put_head(w, PROCESS_TRACK, TYPE_INSTANT, "pprofshim", (struct span){text, raw.len});
		perfetto_write_event(w, NULL, w->order.end_ns);
	}
}

int trace_encode_perfetto(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *p)
{
	struct perfetto_writer *w = region_alloc(r, sizeof *w);
	if (!w)
		return -ENOMEM;
	perfetto_writer_start(w, r, o, s);
	int rc = trace_frames_make(&w->frames, r, s, p);
	if (rc == 0)
		rc = trace_order_make(&w->order, r, s);
	if (rc < 0)
		return rc;
	write_clocks(w);
	write_process(w);
	write_heap(w);
	write_comments(w);
	for (size_t i = 0; i < w->order.count && !w->failed && !o->failed && !pace(); i++)
		write_life(w, &w->order.lives[i]);
	return w->failed || o->failed ? -ENOMEM : 0;
}
