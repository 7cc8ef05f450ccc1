/* child.h - checks in a child process, where cmocka's do not work.
 *
 * Runs in: children of unit tests.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_CHILD_H
#define PPROFSHIM_TEST_CHILD_H

#include <stdio.h>
#include <unistd.h>

/* End the process, and say where, if it is not so. */
#define CHECK(what) \
	do { \
		if (!(what)) { \
			dprintf(2, "# %s:%d: %s\n", __FILE__, __LINE__, #what); \
			_exit(1); \
		} \
	} while (0)

#endif
