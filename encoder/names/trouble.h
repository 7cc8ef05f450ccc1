/* trouble.h - why the helper program has not answered, for users, and when it is tried again.
 *
 * Runs in: listener. Static state of its own; one owner, no lock. symbolizer.h has what others ask of it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TROUBLE_H
#define PPROFSHIM_TROUBLE_H

#include <stdbool.h>
#include <stdint.h>

enum { AGAIN_SECONDS = 60 }; /* between a failure and the next try */

/* Forget everything. */
void trouble_reset(void);

/* Remember a failure: what it is, a number behind it (0: none), and the rest of the sentence. */
void trouble_remember(const char *what, int number, const char *then);

/* A helper succeeded. A recent failure is kept, as it may still be the reason why names are missing. */
void trouble_forgive(void);

/* Try no helper for a while. */
void trouble_rest(void);

/* May a helper be tried now? */
bool trouble_is_over(uint64_t now_ns);

/* The helper could not be started, which is no object's fault.
 * Returns the error. */
int trouble_give_up(int error);

/* Remember how a helper ended before it had said all. status: as wait(2) has it, negative if not known; fault: why we
 * ended it, or NULL. */
void trouble_tell_end(int status, const char *fault);

#endif
