/* real.h - the next definition of every hooked symbol: what would have been called without us.
 *
 * Runs in: app's thread inside a hook, at any time from the loader's own first malloc on.
 * So: found by reading the loaded objects' symbol tables (default version), never through dlsym, which
 * allocates, locks and leaves a dlerror behind.
 *
 * real_<symbol> starts as a stub that looks the symbol up and goes on to it, so a hook simply calls
 * through it; the pointer is published once, whole.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_REAL_H
#define PPROFSHIM_REAL_H

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "shim/base/exports.h"

typedef void (*hook_handler)(int); /* of a signal, as signal(2) has it */

/* The hooks themselves, and what is behind them. */
#define HOOK(symbol, type, params, args) \
	EXPORT type symbol params; \
	extern HIDDEN type(*real_##symbol) params;
#define HOOK_NEW HOOK
#define HOOK_DELETE HOOK
#define HOOK_WAITS(symbol, type, params, args, kind, object, view, way, ...) HOOK(symbol, type, params, args)
#define HOOK_WAITS_OWN(symbol, type, params, args, kind, view) extern HIDDEN type(*real_##symbol) params;
#define HOOK_VARIADIC(symbol, type, params) EXPORT type symbol params;
#define HOOK_OWN(symbol, type, params, args) EXPORT type symbol params;
#include "shim/hooks.def"

/* A definition found in a loaded object. */
struct real_symbol {
	void *address;    /* NULL: nowhere */
	uintptr_t object; /* base address of the object that defines it: tells two objects apart */
};

/* Init: remember the objects that the program was started with, so that later look-ups need no lock. */
void real_start(void);

/* Returns the definition of `name` that follows ours in load order, among the objects that the program was started
 * with. Every caller's scope finds it first after ours, and it is never unloaded. (If there is none, exports.c removes
 * ours, too.) Takes no lock. */
struct real_symbol real_find(const char *name);

/* The same, in this version only. */
struct real_symbol real_find_version(const char *name, const char *version);

/* Returns what a hook calls: *real or, while that is the stub, what the stub will find. */
uintptr_t real_function(void *const *real, const char *name);

/* Like real_find, but in every object, this library and the program included. */
struct real_symbol real_find_anywhere(const char *name);

/* Does the program itself define this name, ahead of us? Then its calls never reach the hook. */
bool real_program_defines(const char *name);

/* Is the malloc behind ours libc's own? (Then it is known how it marks, aligns and nests.) */
bool real_malloc_is_libc(void);

#endif
