/* chosen.h - which frames and samples of a profile a report shows.
 *
 * Runs in: pprofshim. The profile is one of recording.h, and is changed.
 *
 * Source of the rules: google/pprof (Prune, FilterSamplesByName), as the numbers are to be those of `go tool pprof`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CHOSEN_H
#define PPROFSHIM_CHOSEN_H

#include <stdbool.h>

#include "encoder/profile/profile.pb-c.h"
#include "encoder/report/pattern.h"

/* Cut off the frames that drop_frames names, with what they called: of an allocator, say. An expression that cannot be
 * read cuts off nothing, as in pprof. */
void report_drop_frames(Pprof__Profile *p);

/* Keep the samples with a frame that `focus` matches (if it is set) and none that `ignore` matches: in the name of the
 * function, of its file, or of the object. Samples that are left out are freed.
 * Returns by *focused and *ignored whether each expression matched a frame. */
void report_filter(Pprof__Profile *p, const struct pattern *focus, const struct pattern *ignore, bool *focused,
                   bool *ignored);

#endif
