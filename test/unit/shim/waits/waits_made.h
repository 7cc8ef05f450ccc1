/* waits_made.h - frames and waits of threads that are made up.
 *
 * Runs in: unit tests.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_WAITS_MADE_H
#define PPROFSHIM_WAITS_MADE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/waits/handlers.h"
#include "shim/waits/queues.h"
#include "shim/base/os.h"
#include "shim/libc/real.h"
#include "shim/snapshot.h"
#include "shim/threads/threads.h"
#include "shim/waits/waits.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

shared_u32 signals_users; /* signals.c's */

static bool counted;                     /* all handlers are */
bool handlers_counted(uintptr_t handler) /* hooks/signal.c's */
{
	(void)handler;
	return counted;
}

static struct thread record;

static struct thread *left_queue;
static int times_left;
void queues_leave(struct thread *t) /* queues.c's */
{
	left_queue = t;
	times_left++;
}

static int reset(void **state)
{
	(void)state;
	memset(&record, 0, sizeof record);
	memset(&self, 0, sizeof self);
	self.thread = &record;
	shared_set_own(&signals_users, 0);
	counted = false;
	left_queue = NULL;
	times_left = 0;
	shared_set_own(&waits_watchers, 0);
	return 0;
}

static struct unwind_frame frame_at(uintptr_t sp)
{
	return (struct unwind_frame){.pc = 0x400000 + sp, .sp = sp, .fp = sp + 16};
}

/* --- what our signal interrupted --------------------------------------------------------------------- */

static unsigned char *code; /* a page; "syscall" ends at code + 2 and code + 1026 */

static int make_code(void **state)
{
	(void)state;
	clock_start();
	code = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (code == MAP_FAILED)
		return -1;
	memset(code, 0x90, 8192);
	memcpy(code, "\x0f\x05", 2);
	memcpy(code + 1024, "\x0f\x05", 2);
	memcpy(code + 4095, "\x0f\x05", 2); /* across two pages: the first may be gone */
	memcpy(code + 2048, "\x0f\x0b", 2);
	return 0;
}

#endif
