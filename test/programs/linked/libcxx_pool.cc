// libcxx_pool.cc - a plug-in whose operators serve from a pool of its own. plug: how many blocks came from it and went back.
//
// Runs in: cxx_host.
//
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdlib>
#include <new>

static char pool[1 << 20];
static size_t used;
static int served;

static bool is_mine(void *p)
{
	return (char *)p >= pool && (char *)p < pool + sizeof pool;
}

void *operator new(size_t n)
{
	void *p = pool + used;
	used += (n + 15) / 16 * 16;
	served++;
	return p;
}

void operator delete(void *p) noexcept
{
	if (!is_mine(p))
		abort();
	served++;
}

void operator delete(void *p, size_t) noexcept
{
	operator delete(p);
}

struct thing {
	int a[10];
};

extern "C" int plug(int n)
{
	for (int i = 0; i < n; i++) {
		thing *volatile t = new thing;
		t->a[0] = i;
		delete t;
	}
	return served;
}
