/* modules.h - which objects are loaded: our own list, so that no hook or handler touches the loader.
 *
 * Runs in: init and the dlclose hook renew it; a hook that meets an address of an object it does not
 * know adds that one (libc's _dl_find_object, lock-free); everybody reads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_MODULES_H
#define PPROFSHIM_MODULES_H

#include "shim/snapshot.h"

/* Read the loader's list: add what is new, mark what is gone. Init, or a hook that may take the
 * loader's lock; marked busy. */
void modules_refresh(void);

/* Init: call `changed` whenever the set of objects has changed, by whatever thread found out. It takes no lock. */
void modules_on_change(void (*changed)(void));

/* The module whose executable segment holds `pc`, or NULL. Any app thread; not a signal handler. */
const struct module *modules_find(uintptr_t pc);

/* Does any loaded object lie at `pc`? Takes no lock: signal handlers, too. */
bool modules_cover(uintptr_t pc);

/* Stacks with the same addresses are not the same when another object lies there meanwhile: part of a stack's identity
 * (snapshot.h). 0 of a stack that touches no address that was used before by another object. Takes no lock: signal
 * handlers, too. */
uint64_t modules_place_of(const uintptr_t *pc, size_t depth);

/* Can an object be found without the loader's lock (glibc 2.35 and newer)? Then dlopen needs no
 * renewal after it. */
bool modules_find_lazily(void);

/* While the loader may be unmapping an object, its tables must not be read: modules_find answers only
 * what is in use for sure. Nests; the dlclose hook. */
void modules_closing_begin(void);
void modules_closing_end(void);
bool modules_closing(void);

void modules_fork_child(void);

#endif
