/* stub_encoder.h - an encoder for tests of the http room: it says what it is told to say, and counts.
 *
 * Runs in: the server's thread; a test sets what it says while the server is idle.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_STUB_ENCODER_H
#define PPROFSHIM_TEST_STUB_ENCODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encoder/encoder.h"

struct encoder_stub {
	size_t body_bytes; /* of a binary profile */
	int error;         /* of every call */
	const char *loss;
	int busy_ms; /* of a binary profile */
	int takes;   /* atomic */
	bool had_before;
	enum profile_kind kind;
	int64_t debug; /* of a text form */
	const char *stuck[2];

	/* names: attempts that lack some, each for some looks; for ever. Atomic */
	unsigned rounds, looks;
	bool never_named;
	int attempts;
	const char *trouble;
	int merges;

	/* rates of contention */
	int raise_error, raises, restores;
	int takes_at_raise, takes_at_restore;
	enum contention_kind raise_kind;
	uint64_t rate;

	/* the CPU profile, the trace; counts are atomic */
	int begin_error, end_error;
	unsigned drain_ms, hz;
	unsigned drains_until_full; /* of a trace; 0: it never is */
	int begins, drains, ends, abandons, releases;
	int *scratch; /* in the region that it was given */
	uint64_t duration_ns;
};

extern struct encoder_stub stub;

/* Server and client meet in sockets alone, which ThreadSanitizer does not see through our own system
 * calls. The stub sees all that the client wrote before it said something; and the other way round. */
void wire_release(void);
void wire_acquire(void);

void sleep_ms(int ms);
int taken(void);
int counted(const int *counter);

#endif
