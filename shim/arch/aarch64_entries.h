/* aarch64_entries.h - nothing is in assembly yet; C stands in, or the library does without.
 *
 * Runs in: as entries.h says.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ARCH_AARCH64_ENTRIES_H
#define PPROFSHIM_ARCH_AARCH64_ENTRIES_H

#define ARCH_HAS_ENTRIES 0
#define ARCH_HAS_TRAMPOLINES 0
#define ARCH_HAS_RESTART 0
#define ARCH_HAS_SWITCH 0

/* The kernel has its own function for handlers to return to. */
enum { ARCH_SA_RESTORER = 0 };
#define ARCH_RESTORER(name) static void (*const name)(void) = NULL;

#define ARCH_ALIGNED_ENTRY(entry, handler) \
	extern void handler(int sig, siginfo_t *info, void *context); \
	static void entry(int sig, siginfo_t *info, void *context) \
	{ \
		handler(sig, info, context); \
	}

/* This runs on the program's stack. */
#define ARCH_CALL_ON(name) \
	static void name(void *top, void (*fn)(void *arg), void *arg) \
	{ \
		(void)top; \
		fn(arg); \
	}

#define ARCH_SWITCH(name) \
	static void name(void **from, void *to) \
	{ \
		(void)from, (void)to; \
	}

static inline void *arch_first_frame(char *end, void (*entry)(void))
{
	(void)end, (void)entry;
	return NULL;
}

#define ARCH_RETURN_THUNK

#endif
