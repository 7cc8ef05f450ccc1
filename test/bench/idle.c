/* idle.c - calls every hook some thousand times while nobody asks for anything, for bench/idle.py to count
 * instructions.
 *
 * idle          runs all rows under callgrind: one dump a row, named after it
 * idle --list   prints the names of the rows
 *
 * Calls that may block are made so that they fail or return at once. A row of an allocating function frees, that of a
 * lock lets go. Functions are looked up by name, as the table has some that not every libc has: such a row makes no
 * dump.
 *
 * Runs in: a measured program, of one thread.
 * flags: -Wl,--no-as-needed -lstdc++
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <valgrind/callgrind.h>

#include "test/bench/rows.h"

enum { CALLS = 1000 };

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--list")) {
		for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
			puts(rows[i].name);
		return 0;
	}
	rows_prepare();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		self = dlsym(RTLD_DEFAULT, rows[i].name);
		if (!self)
			continue;
		rows[i].run(3);
		CALLGRIND_ZERO_STATS;
		rows[i].run(CALLS);
		CALLGRIND_DUMP_STATS_AT(rows[i].name);
	}
	return 0;
}
