/* go_logs.h - the logs of Go's trace: what the program said, comments, and waits for locks in words.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_GO_LOGS_H
#define PPROFSHIM_GO_LOGS_H

#include "encoder/trace/go_writer.h"

void go_write_log_event(struct go_writer *w, const struct trace_life *l, const struct trace_event *e, uint64_t tick);

/* Choose the thread whose P has the comments. */
void go_choose_teller(struct go_writer *w);

/* Write the comments if this thread has them; NULL: P 0. */
void go_write_comments(struct go_writer *w, const struct trace_life *teller, uint64_t tick);

/* Write for what lock a thread waited, for how long, and whose it was; nothing if it was no wait for a lock. */
void go_write_contention(struct go_writer *w, const struct trace_life *l, const struct trace_item *wait);

#endif
