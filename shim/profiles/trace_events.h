/* trace_events.h - records what threads do while an execution trace is taken.
 *
 * Runs in: app's thread inside a hook, marked as busy where that is said; listener; fork.
 * Each function returns at once if no trace is taken; hooks ask trace_is_on() first. errno is preserved.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TRACE_EVENTS_H
#define PPROFSHIM_TRACE_EVENTS_H

#include "shim/stack/sample.h"
#include "shim/snapshot.h"
#include "shim/threads/threads.h"
#include "shim/waits/waits.h"

enum trace_category { TRACE_LOG_DLOPEN, TRACE_LOG_DLCLOSE };

static inline bool trace_is_on(void)
{
	return __builtin_expect(waits_are_watched(WAITS_FOR_TRACE), 0);
}

/* A wait is over, to be shown as `view`. since_ns 0: it began before the trace did. Waits that were too short are left
 * out. */
void trace_waited(enum wait_view view, unsigned call, uintptr_t object, uint64_t since_ns, uint64_t end_ns,
                  struct unwind_frame from);

/* The caller of `function` is about to wake threads that wait for this object. */
void trace_wakes(uintptr_t object, uintptr_t function, struct unwind_frame from);

/* A thread begins (called by itself, busy), or ends (called by itself). */
void trace_born(struct thread *t, const struct thread_start *start);
void trace_ended(void);

/* A sampled block was allocated or freed; it stands for so many bytes. Busy. */
void trace_heap(int64_t bytes);

/* A line for the trace's log; if it is too long its end is kept. */
void trace_log(enum trace_category category, const char *text, struct unwind_frame from);

/* A CPU sample, finished. Listener. */
void trace_cpu(const struct sample *s);

/* Returns how a wait for this object is shown. */
enum trace_kind trace_kind_of(enum wait_view view, uintptr_t object);

/* The record is about to be another thread's. */
void trace_forget(struct thread *t);

/* The child takes no trace. */
void trace_fork_child(void);
void trace_session_fork_child(void); /* trace_session.c's half */

/* A listener begins: ends a trace that one which has ended left behind. */
void trace_session_begin_anew(void);

/* The buffer, for trace_session.c. Listener. trace_open makes room for as many events as memory allows; it returns 0;
 * -ENOMEM: there is too little; or -EBUSY: a writer of the last trace is late. After trace_close nobody writes; it
 * returns false if a thread was stopped while it wrote and may go on: then the addresses stay mapped until it is done.
 * trace_free gives the memory back. */
int trace_open(void);
bool trace_close(void);
void trace_free(void);
struct trace_chunk *trace_chunks(size_t *count);
uint64_t trace_full_ns(void);                    /* since when the buffer has been full; 0: it is not */
void trace_add(const struct trace_event *event); /* of any thread */
bool trace_lost(void);                           /* did an event of the listener find no room? */
bool trace_end_is_told(const struct thread *t);  /* by the thread itself */

#endif
