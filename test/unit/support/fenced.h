/* fenced.h - a text whose end is the end of readable memory.
 *
 * Runs in: unit tests.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_FENCED_H
#define PPROFSHIM_TEST_FENCED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "shim/base/text.h"

static inline struct span fenced(const char *text)
{
	enum { ROOM = 4096 };
	static char *fence;
	size_t len = strlen(text);
	if (!fence) {
		char *p = mmap(NULL, 2 * ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_ptr_not_equal(p, MAP_FAILED);
		fence = p + ROOM;
		assert_int_equal(mprotect(fence, ROOM, PROT_NONE), 0);
	}
	return (struct span){memcpy(fence - len, text, len), len};
}

#endif
