/* asker.h - a test whose main thread asks as the listener does, and is hidden as that is.
 *
 * Runs in: a test program before main, and each child that a test is made in.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_ASKER_H
#define PPROFSHIM_TEST_ASKER_H

#include <pthread.h>

#include "shim/base/os.h"
#include "shim/threads/tasks.h"

static shared_int asker;

static void hide_asker(void)
{
	shared_set_own(&asker, os_pid());
	tasks_hide(TASKS_LISTENER, &asker);
}

__attribute__((constructor)) static void hide_askers(void)
{
	hide_asker();
	pthread_atfork(NULL, NULL, hide_asker);
}

#endif
