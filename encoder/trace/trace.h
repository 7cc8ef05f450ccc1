/* trace.h - an execution trace as a file: Go's format, and the one of ui.perfetto.dev.
 *
 * Runs in: listener. All scratch memory comes from the region passed in and goes back with it: about 32 bytes for each
 * event, 24 more for each wait that another thread ended, and the memory for distinct stacks and names.
 *
 * Both functions return 0, -EAGAIN (encoder.h) or -ENOMEM (the shim's memory cap is reached). After an error the
 * content of the out must not be sent. The file is valid whatever the snapshot holds: events that contradict others
 * are clipped or left out (order.h says how).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TRACE_H
#define PPROFSHIM_TRACE_H

#include "encoder/bytes/out.h"
#include "shim/base/arena.h"
#include "shim/snapshot.h"

struct patience; /* encoder.h */

/* Write a trace for `go tool trace`: Go's version 1 format, header "go 1.19 trace" (encoder/FORMATS.md). */
int trace_encode_go(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *p);

/* Write a trace for ui.perfetto.dev: a protobuf of TracePackets (encoder/FORMATS.md; perfetto's
 * protos/perfetto/trace). */
int trace_encode_perfetto(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *p);

#endif
