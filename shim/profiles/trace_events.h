/* trace_events.h - what the threads do while an execution trace is taken.
 *
 * Runs in: app's thread inside a hook, marked as busy where that is said; listener; fork.
 * Each of these returns at once where no trace is taken; hooks ask trace_is_on() first. errno is preserved.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TRACE_EVENTS_H
#define PPROFSHIM_TRACE_EVENTS_H

#include "shim/stack/sample.h"
#include "shim/threads/threads.h"
#include "shim/waits/waits.h"

enum trace_category { TRACE_LOG_DLOPEN, TRACE_LOG_DLCLOSE };

static inline bool trace_is_on(void)
{
	return __builtin_expect(waits_are_watched(WAITS_FOR_TRACE), 0);
}

/* A wait is over, seen as `view`. since_ns 0: it began before the trace did. What was too short to be one is left out.
 */
void trace_waited(enum wait_view view, unsigned call, uintptr_t object, uint64_t since_ns, uint64_t end_ns,
                  struct unwind_frame from);

/* The caller of `function` is about to end waits for this object. */
void trace_wakes(uintptr_t object, uintptr_t function, struct unwind_frame from);

/* A thread begins: itself, busy. It ends: itself. */
void trace_born(struct thread *t, const struct thread_start *start);
void trace_ended(void);

/* A sampled block came or went: it stands for so many bytes. Busy. */
void trace_heap(int64_t bytes);

/* A line of the log, of which the end is kept. */
void trace_log(enum trace_category category, const char *text, struct unwind_frame from);

/* A CPU sample, finished. Listener. */
void trace_cpu(const struct sample *s);

/* What a wait for this object is shown as. */
enum trace_kind trace_kind_of(enum wait_view view, uintptr_t object);

/* Of a record that another thread gets. */
void trace_forget(struct thread *t);

/* The child takes none. */
void trace_fork_child(void);
void trace_session_fork_child(void); /* trace_session.c's half */

/* The buffer, for trace_session.c. Listener.
 * open: room for events, as much as there may be and at least a little: 0, or -ENOMEM, or -EBUSY: a writer of
 * the last one is late. close: nobody writes from now on; false: a thread was stopped while it wrote one, and may go
 * on: then the addresses stay mapped until it has. free: give the memory back. */
int trace_open(void);
bool trace_close(void);
void trace_free(void);
struct trace_chunk *trace_chunks(size_t *count);
uint64_t trace_full_ns(void);                    /* since when there is no more room; 0: there is */
void trace_add(const struct trace_event *event); /* of any thread */
bool trace_lost(void);                           /* has one found no room? */
bool trace_end_is_told(const struct thread *t);  /* by the thread itself */

#endif
