/* commands.h - what a thread of the program asks of the listener, and how it waits until that is done.
 *
 * Runs in: app's thread (any of its locks may be held); the listener reads the bits (obey.h, identity.h).
 *
 * An app's thread sets a bit in `asked`, sends a signal to the listener and waits until the bit is gone again. Longer
 * work is put into `later`, for the loop. (A listener that is a thread shares the program's signal handlers: it reads
 * signal 33 from a signalfd, and obeys in its loop.)
 *
 * `lock` orders the start of a listener, and what is said of the program's identity. While it is held nobody is waited
 * for: neither the listener, nor libc, nor the program. So a change of identity, which may take libc long (initgroups
 * asks name services; setuid waits for every thread), is counted in `under_way` before the real function is called, and
 * no lock is held meanwhile.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LISTENER_COMMANDS_H
#define PPROFSHIM_LISTENER_COMMANDS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"
#include "shim/base/shared.h"
#include "shim/base/sync.h"
#include "shim/waits/signals.h"

enum {
	COMMAND_SIGNAL = 16, /* SIGSTKFLT, which no kernel sends */
	WAKE_SIGNAL = SIGNALS_OURS,
	ANSWER_MS = 2000,
};

enum { ASKED_CREDENTIALS = 1, ASKED_ROOM = 2, ASKED_STOP = 4 };

extern HIDDEN struct listener_commands {
	struct lock lock;         /* signals are blocked while it is held: setuid may be called in handlers */
	shared_u32 asked;         /* bits; a futex */
	shared_u32 change;        /* odd while the program's identity changes, another even number after */
	shared_u32 bell;          /* counts what is written to the two; a futex */
	shared_u32 followed;      /* the `change` that the listener has followed; a futex */
	shared_u32 later;         /* bits that the loop has to handle */
	shared_bool settles;      /* a listener that stops first waits until all our signals have been taken */
	SHARED(const char *) why; /* the last line of a listener to be stopped; NULL: none */
	/* under the lock */
	uint32_t under_way;  /* changes of identity */
	uint32_t births;     /* of listeners: an older one's changes are not in `under_way` */
	shared_u64 since_ns; /* when the last of them began */
} listener_commands;

/* Blocks all signals but the one by which libc changes identities.
 * Returns the mask as it was. */
uint64_t commands_block_signals(void);
void commands_unblock_signals(uint64_t before);

/* Takes the lock, and blocks signals until it is released.
 * Returns false if it can't be had in LOCK_PATIENCE_MS, with the signals as they were. */
bool commands_take(uint64_t *before);
void commands_release(uint64_t before);

/* Sends the listener the signal that makes it look. Returns 0, or a negative errno. */
long commands_signal_listener(int tid);

/* Returns true if the program has another identity than the listener. Then it may have no permission to signal the
 * listener, but it did so before the change. */
bool commands_identity_differs(void);

/* Sets the bits alone. commands_ask also waits until the listener has obeyed, or is gone. */
void commands_want(uint32_t what);
void commands_ask(uint32_t what);

/* A listener that waits for the end of a change of identity hears this. */
void commands_ring(void);

/* Waits until *word, of which only these bits count, is no longer `value`, or the listener is gone. */
void commands_await_change(shared_u32 *word, uint32_t bits, uint32_t value);

#endif
