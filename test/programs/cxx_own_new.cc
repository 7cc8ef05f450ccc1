/* cxx_own_new.cc - a program that replaces operator new and delete: its own are used, by the library too.
 *
 * Runs in: a test program; it must print the same with the shim and without.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

static long news, deletes;

void *operator new(std::size_t n)
{
	news++;
	if (void *p = std::malloc(n ? n : 1))
		return p;
	throw std::bad_alloc();
}
void operator delete(void *p) noexcept
{
	deletes++;
	std::free(p);
}
void operator delete(void *p, std::size_t) noexcept
{
	deletes++;
	std::free(p);
}

int main()
{
	{
		std::vector<std::string> v;
		for (int i = 0; i < 1000; i++)
			v.push_back(std::string(100, 'x'));
		int *array = new int[100];
		__asm__ volatile("" : : "r"(array) : "memory");
		delete[] array;
	}
	std::printf("own_news %ld\nown_deletes %ld\nend 1\n", news, deletes);
	return 0;
}
