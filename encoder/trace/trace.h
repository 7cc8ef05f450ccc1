/* trace.h - an execution trace as a file: Go's format, and the one of ui.perfetto.dev.
 *
 * Runs in: listener. All scratch memory comes from the region handed in and goes back with it: about 32 bytes an event
 * for the order, 24 a wait that another thread ended, and what the distinct stacks and names take.
 *
 * Both return 0, -EAGAIN (encoder.h) or -ENOMEM (the shim's memory cap); then the out's content is not to be sent.
 * Whatever the snapshot holds, the file is valid: what contradicts itself is clipped, or left out (order.h says how).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TRACE_H
#define PPROFSHIM_TRACE_H

#include "encoder/bytes/out.h"
#include "shim/base/arena.h"
#include "shim/snapshot.h"

struct patience; /* encoder.h */

/* For `go tool trace`: Go's version 1 format, header "go 1.19 trace" (encoder/FORMATS.md). */
int trace_encode_go(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *p);

/* For ui.perfetto.dev: a protobuf of TracePackets (encoder/FORMATS.md; perfetto's protos/perfetto/trace). */
int trace_encode_perfetto(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *p);

#endif
