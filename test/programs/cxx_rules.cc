/* cxx_rules.cc - what C++ promises of operator new: the new handler, bad_alloc, nothrow, exceptions that pass.
 *
 * Runs in: a test program; it must print the same with the shim and without.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

volatile size_t too_much = PTRDIFF_MAX - 64;
int handler_calls;
void keep(void *p) { __asm__ volatile("" : : "r"(p) : "memory"); }

void handler()
{
	if (++handler_calls == 3)
		std::set_new_handler(nullptr);
}

struct own_reason {};
void throwing_handler() { throw own_reason(); }

template <class F>
const char *outcome(F f)
{
	try {
		keep(f());
		return "returned";
	} catch (const std::bad_array_new_length &) {
		return "bad_array_new_length";
	} catch (const std::bad_alloc &) {
		return "bad_alloc";
	} catch (const std::length_error &) {
		return "length_error";
	} catch (const own_reason &) {
		return "own_reason";
	}
}

} // namespace

int main()
{
	std::printf("new %s\n", outcome([] { return ::operator new(too_much); }));
	std::printf("new_array %s\n", outcome([] { return ::operator new[](too_much); }));
	std::printf("new_aligned %s\n", outcome([] { return ::operator new(too_much & ~size_t(63), std::align_val_t(64)); }));
	std::printf("new_huge_array %s\n", outcome([] { return new int[too_much]; }));
	std::printf("vector %s\n", outcome([] { return new std::vector<char>(too_much / 2); }));
	std::printf("nothrow %d\n", ::operator new(too_much, std::nothrow) == nullptr);
	std::printf("nothrow_aligned %d\n", ::operator new(too_much & ~size_t(63), std::align_val_t(64), std::nothrow) == nullptr);

	std::set_new_handler(handler);
	std::printf("with_handler %s\n", outcome([] { return ::operator new(too_much); }));
	std::printf("handler_calls %d\n", handler_calls);
	std::set_new_handler(throwing_handler);
	std::printf("throwing_handler %s\n", outcome([] { return ::operator new(too_much); }));
	std::set_new_handler(nullptr);

	/* An exception through frames that hold sampled blocks. */
	int caught = 0;
	for (int i = 0; i < 200; i++) {
		try {
			std::vector<std::unique_ptr<std::string>> v;
			for (int j = 0; j < 50; j++)
				v.push_back(std::make_unique<std::string>(1000, 'x'));
			if (i % 2)
				keep(::operator new(too_much));
			throw std::runtime_error("on purpose, and long enough not to be kept inside the string");
		} catch (const std::exception &) {
			caught++;
		}
	}
	std::printf("caught %d\n", caught);
	std::thread t([] { std::printf("in_thread %s\n", outcome([] { return ::operator new(too_much); })); });
	t.join();
	::operator delete(nullptr);
	::operator delete[](nullptr);
	void *zero = ::operator new(0);
	std::printf("new_zero %d\nend 1\n", zero != nullptr);
	::operator delete(zero);
	return 0;
}
