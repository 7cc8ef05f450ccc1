/* code.h - is an address code, and does it follow a call? A guessed frame must show that before it counts.
 *
 * Runs in: app's thread inside a hook, signal handler (CODE_ASK instead of what takes a lock), listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CODE_H
#define PPROFSHIM_CODE_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/arch/arch.h"

enum code_answer {
	CODE_NO,
	CODE_YES,
	CODE_ASK, /* not known yet: code_learn has to look, which a signal handler may not */
};

/* Does executable memory lie at this address, of an object or not? Takes no lock. */
enum code_answer code_is_at(uintptr_t pc);

/* The same, for what code_is_at does not know: read the process's mappings. Only the listener does; in a thread of the
 * program the answer is no. The LEARN lock is held. */
bool code_learn(uintptr_t pc);

/* Is this a return address: executable, behind a call that leads to executable memory? Takes no lock. */
enum code_answer code_is_return(uintptr_t return_address);

/* In a thread of the program, where code_learn does not look: is this behind a call, wherever it leads? */
bool code_may_be_return(uintptr_t return_address);

/* The thing that the code before a return address calls; ARCH_CALLS_NOTHING if it can't be read. */
enum arch_callee code_callee_before(uintptr_t return_address, uintptr_t *to);

/* Forget what was found: objects were loaded or unloaded. */
void code_forget(void);

#endif
