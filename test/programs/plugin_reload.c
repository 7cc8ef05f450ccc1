/* plugin_reload.c - a host that loads a plug-in, built anew each time, again and again: hot reload.
 *
 * plugin_reload LIBRARY ROUNDS
 * Runs in: a test program. Each round loads a copy of the library that is another file, at the old address, allocates
 * through it, and at 64 call stacks of the host's own. Truth: `own_stack SIZE ALLOCATED LIVE`, `plugin_allocate SIZE
 * ALLOCATED LIVE`; then `ready`; waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>

#include "truth.h"

enum { OWN_BYTES = 1000, OWN_STACKS = 64, PLUGIN_BYTES = 5000 };

static void *down(unsigned bits, int depth);

SITE static void *own_stack(void)
{
	void *p = malloc(OWN_BYTES);
	KEEP(p);
	return p;
}

SITE static void *left(unsigned bits, int depth)
{
	void *p = down(bits >> 1, depth - 1);
	KEEP(p);
	return p;
}

SITE static void *right(unsigned bits, int depth)
{
	void *p = down(bits >> 1, depth - 1);
	KEEP(p);
	return p;
}

static void *down(unsigned bits, int depth)
{
	return depth == 0 ? own_stack() : bits & 1 ? left(bits, depth) : right(bits, depth);
}

/* The build id of the copy is its number. */
static int write_copy(const char *library, const char *path, unsigned number)
{
	static char bytes[1 << 20];
	FILE *from = fopen(library, "rb"), *to = fopen(path, "wb");
	if (!from || !to)
		return -1;
	size_t n = fread(bytes, 1, sizeof bytes, from);
	for (size_t i = 0; i + 12 < n; i++)
		if (memcmp(bytes + i, "\3\0\0\0GNU", 8) == 0) {
			memcpy(bytes + i + 8, &number, sizeof number);
			break;
		}
	fwrite(bytes, 1, n, to);
	fclose(from);
	return fclose(to);
}

static int reload(const char *library, unsigned number)
{
	char path[64];
	snprintf(path, sizeof path, "/tmp/plugin_reload.%d.%u.so", (int)getpid(), number);
	void *h = write_copy(library, path, number) == 0 ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
	void *(*call)(size_t) = h ? (void *(*)(size_t))dlsym(h, "plugin_call") : NULL;
	unlink(path);
	if (!call)
		return -1;
	free(call(PLUGIN_BYTES));
	for (unsigned k = 0; k < OWN_STACKS; k++)
		free(down(k, 6));
	return dlclose(h);
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
	for (unsigned i = 0; i < rounds; i++)
		if (argc < 2 || reload(argv[1], i) != 0) {
			puts("failed 1");
			return 1;
		}
	truth_add("own_stack", OWN_BYTES, rounds * OWN_STACKS, 0);
	truth_add("plugin_allocate", PLUGIN_BYTES, rounds, 0);
	truth_print();
	ready_and_wait();
	return 0;
}
