/* thread_stack.c - ask libc for the size of a thread's stack.
 *
 * Runs in: app's thread in pthread_create, holding no lock of ours.
 *
 * Libc's functions are found as hooks find theirs: linked, they would be asked for in a version that older libcs lack.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/libc/thread_stack.h"

#include <stdint.h>
#include <string.h>

#include "shim/base/shared.h"
#include "shim/libc/real.h"

typedef int (*attribute)(const pthread_attr_t *attr, size_t *bytes);

/* The functions, once they were looked for; 1: there is none. */
static shared_address stack_size, guard_size;

static attribute find(shared_address *kept, const char *name)
{
	uintptr_t at = shared_load_relaxed(kept);
	if (!at) {
		at = (uintptr_t)real_find(name).address;
		at = at ? at : 1;
		shared_store_relaxed(kept, at);
	}
	return at > 1 ? (attribute)at : NULL;
}

/* Attributes that are all zeros are the default ones. The thread's block may begin up to a page before the end, and the
 * guard pages are part of the stack. */
size_t thread_stack_bytes(const pthread_attr_t *attr)
{
	enum { PAGE = 4096 };
	pthread_attr_t preset;
	size_t bytes = 0, guard = 0;
	attribute size_of = find(&stack_size, "pthread_attr_getstacksize"),
		  guard_of = find(&guard_size, "pthread_attr_getguardsize");
	if (!attr)
		attr = memset(&preset, 0, sizeof preset);
	if (!size_of || !guard_of || size_of(attr, &bytes) != 0 || guard_of(attr, &guard) != 0)
		return 0;
	size_t lost = (guard + PAGE - 1) / PAGE * PAGE + PAGE;
	return bytes > lost ? (bytes - lost) / PAGE * PAGE : 0;
}
