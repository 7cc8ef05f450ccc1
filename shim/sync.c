/* sync.c - the slow half of the house's lock.
 *
 * Runs in: app's thread inside a hook, listener, fork. No libc, errno untouched.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/sync.h"

enum { SPINS = 100 };

void lock_wait(struct lock *l)
{
	for (int i = 0; i < SPINS; i++) {
#if defined(__x86_64__)
		__builtin_ia32_pause();
#endif
		if (__atomic_load_n(&l->word, __ATOMIC_RELAXED) == 0 && lock_try(l))
			return;
	}
	while (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE) != 0)
		os_futex_wait(&l->word, 2, NULL);
}
