/* closed_pages.c - takes all rights away from some pages of a library that it was started with: whoever uses one of
 * them ends the program. Then it serves until its input ends.
 *
 * usage: closed_pages NAME [OFFSET BYTES]...    of the library whose path contains NAME; whole pages alone are closed
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uintptr_t find_base(const char *name)
{
	char line[4096];
	uintptr_t base = 0;
	FILE *f = fopen("/proc/self/maps", "r");
	while (f && !base && fgets(line, sizeof line, f))
		if (strstr(line, name))
			base = strtoul(line, NULL, 16);
	if (f)
		fclose(f);
	return base;
}

int main(int argc, char **argv)
{
	char c;
	uintptr_t base = find_base(argv[1]);
	size_t pages = 0;
	for (int i = 2; base && i + 1 < argc; i += 2) {
		uintptr_t begin = (base + strtoul(argv[i], NULL, 0) + 4095) & ~(uintptr_t)4095;
		uintptr_t end = (base + strtoul(argv[i], NULL, 0) + strtoul(argv[i + 1], NULL, 0)) & ~(uintptr_t)4095;
		if (end > begin && mprotect((void *)begin, end - begin, PROT_NONE) == 0)
			pages += (end - begin) / 4096;
	}
	printf("closed %zu\n", pages);
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	return 0;
}
