/* modules.h - which objects are loaded: our own list, so that no hook or handler touches the loader.
 *
 * Runs in: init and the dlclose hook renew it; a hook that meets an address of an object it does not
 * know adds that one (libc's _dl_find_object, lock-free); everybody reads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_MODULES_H
#define PPROFSHIM_MODULES_H

#include "shim/base/module.h"

/* Read the loader's list: add what is new, mark what is gone. Init, or a hook that may take the
 * loader's lock; marked busy. */
void modules_refresh(void);

/* Init: have `changed` called whenever the set of objects has changed, by any thread that finds out. It takes no
 * lock. */
void modules_on_change(void (*changed)(void));

/* Returns the module whose executable segment holds `pc`, or NULL. App's thread or listener; not a signal handler. */
const struct module *modules_find(uintptr_t pc);

/* Does an executable segment of an object on the list hold `pc`? Takes no lock; signal handlers may call it. */
bool modules_hold_code(uintptr_t pc);

/* Does any loaded object lie at `pc`? Takes no lock; signal handlers may call it. */
bool modules_cover(uintptr_t pc);

/* Returns the place of a stack, which is part of its identity (snapshot.h): stacks with the same addresses differ if
 * another object lies there meanwhile. It is 0 unless the stack touches an address that another object used before.
 * Takes no lock; signal handlers may call it. */
uint64_t modules_place_of(const uintptr_t *pc, size_t depth);

/* Can an object be found without the loader's lock (glibc 2.35 and newer)? Then no renewal is needed after dlopen. */
bool modules_find_lazily(void);

/* The dlclose hook calls these before and after; they nest. In between the loader may unmap an object. So its tables
 * must not be read, and modules_find returns only what is certainly in use. */
void modules_closing_begin(void);
void modules_closing_end(void);
bool modules_closing(void);

void modules_fork_child(void);

#endif
