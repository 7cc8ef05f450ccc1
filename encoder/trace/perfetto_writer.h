/* perfetto_writer.h - the packets of a trace for ui.perfetto.dev, the parts of an event, and stacks as interned data.
 *
 * Runs in: listener. All memory from the request's region. Nothing here returns an error: a lack of memory is in
 * w->failed, and what was written must not be sent then.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PERFETTO_WRITER_H
#define PPROFSHIM_PERFETTO_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "encoder/bytes/intern.h"
#include "encoder/bytes/out.h"
#include "encoder/bytes/protobuf.h"
#include "encoder/trace/frames.h"
#include "encoder/trace/order.h"

enum { /* the numbers of fields */
       TRACE_PACKET = 1,

       PACKET_CLOCK_SNAPSHOT = 6,
       PACKET_TIMESTAMP = 8,
       PACKET_SEQUENCE_ID = 10,
       PACKET_TRACK_EVENT = 11,
       PACKET_INTERNED_DATA = 12,
       PACKET_SEQUENCE_FLAGS = 13,
       PACKET_CLOCK_ID = 58,
       PACKET_TRACK_DESCRIPTOR = 60,

       SNAPSHOT_CLOCKS = 1,
       SNAPSHOT_PRIMARY = 2,
       CLOCK_ID = 1,
       CLOCK_TIMESTAMP = 2,

       TRACK_UUID = 1,
       TRACK_NAME = 2,
       TRACK_PROCESS = 3,
       TRACK_THREAD = 4,
       TRACK_PARENT = 5,
       TRACK_COUNTER = 8,
       PROCESS_PID = 1,
       PROCESS_NAME = 6,
       THREAD_PID = 1,
       THREAD_TID = 2,
       THREAD_NAME = 5,
       COUNTER_UNIT = 3,

       EVENT_ANNOTATIONS = 4,
       EVENT_TYPE = 9,
       EVENT_TRACK = 11,
       EVENT_CATEGORIES = 22,
       EVENT_NAME = 23,
       EVENT_COUNTER_VALUE = 30,
       EVENT_CALLSTACK_IID = 56,

       ANNOTATION_UINT = 3,
       ANNOTATION_STRING = 6,
       ANNOTATION_POINTER = 7,
       ANNOTATION_NAME = 10,
       ANNOTATION_STRING_IID = 17,

       INTERNED_FUNCTION_NAMES = 5,
       INTERNED_FRAMES = 6,
       INTERNED_CALLSTACKS = 7,
       INTERNED_MAPPINGS = 19,
       INTERNED_ANNOTATION_STRINGS = 29,
       INTERNED_IID = 1, /* of all of these */
       INTERNED_STR = 2,
       FRAME_FUNCTION = 2,
       FRAME_MAPPING = 3,
       FRAME_ADDRESS = 4,
       CALLSTACK_FRAMES = 2,
};

enum { /* values */
       PERFETTO_REALTIME = 1,
       PERFETTO_MONOTONIC = 3,
       PERFETTO_BOOTTIME = 6,
       UNIT_BYTES = 3,
       STATE_CLEARED = 1, /* sequence flags: the first packet */
       STATE_NEEDED = 2,
       TYPE_BEGIN = 1,
       TYPE_END = 2,
       TYPE_INSTANT = 3,
       TYPE_COUNTER = 4,
};

enum {
	PROCESS_TRACK = 1,
	HEAP_TRACK = 2,
	LIVES_TRACK = 3, /* and the following ones: threads */
};

struct perfetto_writer {
	struct region *region;
	struct out *out;
	const struct trace_snapshot *snapshot;
	struct trace_order order;
	struct trace_frames frames;
	struct intern stacks, stack_frames; /* iid = number + 1 */
	struct life_key *spare;             /* the next key of these */
	const struct trace_life *mapped;    /* the last life whose sequence has the mapping */
	size_t stack_texts;                 /* bytes */
	uint64_t pid;
	struct message event, part, interned, packet, head;
	bool failed;
};

/* Begin without anything written. */
void perfetto_writer_start(struct perfetto_writer *w, struct region *r, struct out *o, const struct trace_snapshot *s);

/* Returns the track of a life; NULL: of the process. */
uint64_t perfetto_track_of(const struct perfetto_writer *w, const struct trace_life *l);

/* Write the packet, whose content is ready, to the sequence of a life, or to the shared one. */
void perfetto_write_packet(struct perfetto_writer *w, const struct trace_life *l, uint64_t flags);

/* Write the event and the interned data that it needs. */
void perfetto_write_event(struct perfetto_writer *w, const struct trace_life *l, uint64_t ns);

/* Parts of the next event: what it is (category: NULL, name: empty, if it has none) … */
void perfetto_put_head(struct perfetto_writer *w, uint64_t track, unsigned type, const char *category,
                       struct span name);

/* … the object that was waited for, if it is known … */
void perfetto_put_object(struct perfetto_writer *w, const struct trace_event *e);

/* … another thread, under this name, as it was called at that time; tid 0: none … */
void perfetto_put_thread(struct perfetto_writer *w, const char *name, int tid, uint64_t ns);

/* … and a stack of that thread; NULL: none. */
void perfetto_put_stack(struct perfetto_writer *w, const struct trace_life *l, const struct stack *stack);

#endif
