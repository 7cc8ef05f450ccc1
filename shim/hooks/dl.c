/* dl.c - dlopen and dlclose.
 *
 * Runs in: app's thread. The loader's lock may be held (a constructor that opens a library).
 *
 * dlopen looks at its return address: the caller's RUNPATH, $ORIGIN and namespace decide what is found. So we jump to
 * the real one, and notice a new object when its first address turns up in a stack (modules_find). Only if libc has no
 * lock-free look-up do we have to stay and renew the list.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>

#include "shim/base/exports.h"
#include "shim/base/house.h"
#include "shim/base/losses.h"
#include "shim/libc/modules.h"
#include "shim/libc/real.h"
#include "shim/profiles/sampling.h"
#include "shim/profiles/trace_events.h"
#include "shim/stack/unwind.h"

static void log_dlopen(const char *file, const void *frame_address)
{
	if (file)
		trace_log(TRACE_LOG_DLOPEN, file, unwind_frame_at(frame_address));
}

/* Only if libc has no lock-free look-up. */
static SLOW void *open_and_refresh(const char *file, int mode)
{
	void *handle = real_dlopen(file, mode);
	if (self_hold()) {
		modules_refresh();
		self_release();
	}
	return handle;
}

/* Does what is needed before. Returns false if the real function can be jumped to. */
static SLOW bool must_stay(const char *file, int mode, const void *frame_address)
{
#ifdef RTLD_DEEPBIND
	if (mode & RTLD_DEEPBIND)
		losses_count(deep_bind);
#endif
	if (waits_test(WAITS_FOR_TRACE))
		log_dlopen(file, frame_address);
	return !modules_find_lazily() && house_is_on();
}

EXPORT void *dlopen(const char *file, int mode)
{
	return must_stay(file, mode, __builtin_frame_address(0)) ? open_and_refresh(file, mode)
	                                                         : real_dlopen(file, mode);
}

EXPORT ALIGNED int dlclose(void *handle)
{
	if (!house_is_on() || !self_hold())
		return real_dlclose(handle);
	modules_closing_begin();
	unwind_learn_drain();
	self_release(); /* destructors may allocate, and that should be seen */
	int r = real_dlclose(handle);
	if (self_hold()) {
		modules_refresh(); /* before learners may look again: what was unmapped is marked as gone */
		self_release();
	}
	modules_closing_end();
	return r;
}
