/* modules.c - which objects are loaded: ask the loader, and answer who has an address.
 *
 * Runs in: init, app's thread inside a hook; signal handler (modules_cover); listener.
 * So: own memory, own lock (loaded.h); the loader's lock only in modules_refresh.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/libc/modules.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

#include "shim/base/confined.h"
#include "shim/base/layout.h"
#include "shim/base/peek.h"
#include "shim/base/self.h"
#include "shim/base/shared.h"
#include "shim/libc/headers.h"
#include "shim/libc/loaded.h"
#include "shim/libc/real.h"

static void tell_nobody(void) {}

static void (*tell_of_change)(void) = tell_nobody; /* immutable after init */

static struct {
	SHARED(unsigned long long) subs_seen; /* the loader's count of removals at the last renewal */
	shared_int closing;                   /* dlclose calls under way */
	/* libc's lock-free look-up, or NULL; immutable after the first renewal */
	int (*find_object)(void *, struct dl_find_object *);
	int (*iterate)(int (*visit)(struct dl_phdr_info *, size_t, void *), void *arg); /* libc's dl_iterate_phdr */
} loader FORKED;

bool modules_hold_code(uintptr_t pc)
{
	return loaded_find(pc) != NULL;
}

/* ---- renewals ---- */

struct renewal {
	uint64_t number;
	bool changed;
	bool failed; /* the lock could not be taken: no object is gone for certain */
};

/* The loader's lock is held here. A thread may hold that one and wait for ours (a constructor that allocates). So ours
 * is taken here, and never around the iteration. */
static int renew_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct renewal *r = arg;
	struct module *m = NULL;
	(void)size;
	if (!loaded_take_lock()) {
		r->failed = true;
		return 0;
	}
	for (size_t i = 0; i < shared_own(&loaded.live_most) && !m; i++) {
		struct module *l = loaded_at_locked(i);
		m = l && loaded_is_live(l) && l->bias == info->dlpi_addr && strcmp(l->path, info->dlpi_name) == 0
		            ? l
		            : NULL;
	}
	if (!m)
		r->changed |= loaded_add_locked(
			&(struct headers){info->dlpi_addr, info->dlpi_name, info->dlpi_phdr, info->dlpi_phnum, true});
	else if (m->seen_in < r->number)
		m->seen_in = r->number;
	loaded_release_lock();
	return 0;
}

/* Reads the loader's count of removals, from the first object it tells of. */
static int read_subs(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	*(unsigned long long *)arg = info->dlpi_subs;
	return 1;
}

static void begin_renewal(struct renewal *r)
{
	r->failed = !loaded_take_lock();
	if (r->failed)
		return;
	r->number = ++loaded.renewals;
	loaded_release_lock();
}

/* Objects that the renewal did not see are gone. (Those that came since have a later number.) */
static void leave_unseen(struct renewal *r)
{
	if (r->failed || !loaded_take_lock()) {
		r->failed = true;
		return;
	}
	for (size_t i = 0; i < shared_own(&loaded.live_most); i++)
		if (loaded_at_locked(i) && loaded_at_locked(i)->seen_in < r->number) {
			loaded_leave_locked(i);
			r->changed = true;
		}
	loaded_release_lock();
}

/* These are libc's own: a program may define dl_iterate_phdr, and expect to have started before it is called. */
static void find_loaders_functions(void)
{
	loader.find_object = (int (*)(void *, struct dl_find_object *))real_find("_dl_find_object").address;
	loader.iterate =
		(int (*)(int (*)(struct dl_phdr_info *, size_t, void *), void *))real_find("dl_iterate_phdr").address;
}

void modules_on_change(void (*changed)(void))
{
	tell_of_change = changed;
}

void modules_refresh(void)
{
	struct renewal r = {0};
	unsigned long long subs = 0;
	begin_renewal(&r);
	if (!loader.iterate)
		find_loaders_functions();
	loader.iterate(read_subs, &subs);
	bool removed = shared_load_relaxed(&loader.subs_seen) != subs;
	loader.iterate(renew_object, &r);
	if (removed)
		leave_unseen(&r);
	if (!r.failed) /* else the next renewal has to find the removals */
		shared_store_relaxed(&loader.subs_seen, subs);
	if (r.changed || r.failed)
		tell_of_change();
}

/* ---- look-ups ---- */

/* Is this object on the list? Then an address in none of its code segments is no code. */
static bool is_known_locked(uintptr_t bias, const char *path)
{
	for (size_t i = 0; i < shared_own(&loaded.live_most); i++) {
		const struct module *m = loaded_at_locked(i);
		if (m && loaded_is_live(m) && m->bias == bias && strcmp(m->path, path) == 0)
			return true;
	}
	return false;
}

/* Adds the object that libc's lock-free table has at an address, if the list lacks it: it was loaded after the last
 * renewal. */
static struct module *find_new(uintptr_t pc, const struct dl_find_object *o)
{
	struct headers h;
	bool added = false;
	if (!loaded_take_lock())
		return NULL;
	if (!loaded_find(pc) && headers_copy_locked(o, &h) && !is_known_locked(h.bias, h.path))
		added = loaded_add_locked(&h);
	loaded_release_lock();
	struct module *m = loaded_find(pc);
	if (added && m &&
	    m->number) /* another object had its addresses and rules: libc unloads its own without our knowing */
		tell_of_change();
	return m;
}

static bool is_of(const struct module *m, const struct dl_find_object *o)
{
	uintptr_t bias;
	return m->unwind_table == (uintptr_t)o->dlfo_eh_frame &&
	       peek((uintptr_t)o->dlfo_link_map + offsetof(struct link_map, l_addr), &bias, sizeof bias) &&
	       m->bias == bias;
}

static void leave(struct module *m)
{
	shared_store_relaxed(&m->gone, true); /* even if the lock can't be taken */
	if (!loaded_take_lock())
		return;
	for (size_t i = 0; i < shared_own(&loaded.live_most); i++)
		if (loaded_at_locked(i) == m)
			loaded_leave_locked(i);
	loaded_release_lock();
}

/* The list is only as new as the last dlclose that we saw; libc unloads objects of its own (gconv, NSS) behind our
 * back. So where libc can be asked without a lock, its answer decides whether an entry still holds. */
const struct module *modules_find(uintptr_t pc)
{
	struct module *m = loaded_find(pc);
	struct dl_find_object o;
	if (!loader.find_object || confined())
		return m;
	bool is_there = loader.find_object((void *)pc, &o) == 0 && o.dlfo_link_map;
	if (m && is_there && is_of(m, &o))
		return m;
	if (m)
		leave(m);
	return is_there && !modules_closing() ? find_new(pc, &o) : NULL;
}

/* _dl_find_object is made for unwinders in signal handlers: no lock, no allocation. */
bool modules_cover(uintptr_t pc)
{
	struct dl_find_object o;
	return loader.find_object ? loader.find_object((void *)pc, &o) == 0 : loaded_find(pc) != NULL;
}

bool modules_find_lazily(void)
{
	return loader.find_object != NULL;
}

void modules_closing_begin(void)
{
	self.closing++;
	shared_add_seq_cst(&loader.closing, 1);
}

void modules_closing_end(void)
{
	shared_sub_seq_cst(&loader.closing, 1);
	self.closing--;
}

bool modules_closing(void)
{
	return shared_load_seq_cst(&loader.closing) > 0;
}

/* Other threads that were closing an object are not in the child. The thread that forked may be closing one: a
 * destructor may fork. */
FORKED_CODE void modules_fork_child(void)
{
	if (shared_own(&loader.closing) != self.closing)
		shared_set_own(&loader.closing, self.closing);
}
