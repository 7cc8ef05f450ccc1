/* descriptors.h - how many descriptors the process has.
 *
 * Runs in: unit tests. Compare two counts, of moments at which no other thread opens or closes any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_DESCRIPTORS_H
#define PPROFSHIM_TEST_DESCRIPTORS_H

#include <dirent.h>

/* Returns that number, and three more: ".", "..", and the folder's own. */
static inline int count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

#endif
