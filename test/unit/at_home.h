/* at_home.h - a test whose process knows its pid, and whose children know theirs, as init and the fork handlers see to
 * it.
 *
 * Runs in: a test program, before main.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_AT_HOME_H
#define PPROFSHIM_TEST_AT_HOME_H

#include <pthread.h>

#include "shim/base/house.h"

__attribute__((constructor)) static void be_at_home(void)
{
	house_start(NULL);
	pthread_atfork(NULL, NULL, house_fork_child);
}

#endif
