/* libcxxext.cc - the C++ library that cxx_in_c loads.
 *
 * Runs in: a test program, loaded with RTLD_LOCAL as python's extensions are.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

static volatile size_t too_much = PTRDIFF_MAX - 64;

extern "C" {

__attribute__((noinline)) void *site_ext_new(size_t n)
{
	void *p = ::operator new(n);
	__asm__ volatile("" : : "r"(p) : "memory");
	return p;
}

void ext_delete(void *p)
{
	::operator delete(p);
}

/* 1 if every throwing form throws bad_alloc and every nothrow form gives a null pointer. */
int ext_catches_bad_alloc(void)
{
	int caught = 0;
	try {
		site_ext_new(too_much);
	} catch (const std::bad_alloc &) {
		caught++;
	}
	try {
		void *p = ::operator new[](too_much);
		__asm__ volatile("" : : "r"(p) : "memory");
	} catch (const std::bad_alloc &) {
		caught++;
	}
	try {
		void *p = ::operator new(too_much & ~size_t(63), std::align_val_t(64));
		__asm__ volatile("" : : "r"(p) : "memory");
	} catch (const std::bad_alloc &) {
		caught++;
	}
	caught += ::operator new(too_much, std::nothrow) == nullptr;
	caught += ::operator new[](too_much, std::nothrow) == nullptr;
	return caught == 5;
}

void ext_throw_and_catch(void)
{
	try {
		std::vector<std::string> v(10, "a string longer than the one that is kept inside");
		throw std::runtime_error(v[3]);
	} catch (const std::exception &e) {
		__asm__ volatile("" : : "r"(e.what()) : "memory");
	}
}
}
