// big_part.cc - one of the many parts of a program with hundreds of megabytes of debug information: whatever the standard
// library's headers have, and a function that allocates.
//
// Runs in: nothing; test_symbols.py compiles it once and links it many times (big_main.cc).
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iostream>
#include <list>
#include <map>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

#define NOINLINE __attribute__((noinline, noclone))

namespace part {

inline __attribute__((always_inline)) void *inlined_allocate(size_t n)
{
	void *p = malloc(n); // mark: big_inlined
	__asm__ volatile("" : : "r"(p) : "memory");
	return p;
}

template <int N>
NOINLINE void *step(size_t n)
{
	void *p = N % 4 ? step<N - 1>(n + 1) : inlined_allocate(n); // mark: big_step
	__asm__ volatile("" : : "r"(p) : "memory");
	return p;
}
template <>
NOINLINE void *step<0>(size_t n)
{
	return inlined_allocate(n);
}

static bool matches(const std::string &s, const char *expression)
{
	return std::regex_match(s, std::regex(expression));
}

static std::size_t containers(const std::string &text)
{
	std::map<std::string, std::vector<int>> a;
	std::unordered_map<std::string, std::deque<double>> b;
	std::set<std::pair<int, std::string>> c;
	std::list<std::variant<int, double, std::string>> d;
	std::stringstream in(text);
	for (std::string w; in >> w;) {
		a[w].push_back(static_cast<int>(w.size()));
		b[w].push_front(0.5);
		c.emplace(static_cast<int>(a.size()), w);
		d.emplace_back(w);
	}
	std::vector<std::string> v;
	for (const auto &p : a)
		v.push_back(p.first);
	std::sort(v.begin(), v.end(), [](const auto &x, const auto &y) { return x.size() < y.size(); });
	std::mt19937 random(7);
	std::shuffle(v.begin(), v.end(), random);
	return v.size() + b.size() + c.size() + d.size();
}

} // namespace part

// The part's only way in: an entry of a table that the linker makes. Nothing of it has a name that another part could have.
typedef void *entry(size_t, int);
static entry big_entry;
__attribute__((section("big_entries"), used)) static entry *const in_table = big_entry;

static NOINLINE void *big_entry(size_t n, int really)
{
	if (really > 1) {
		if (part::matches("abc", "[a-c]+(x|y)*"))
			n += part::containers("a b c");
		n += static_cast<size_t>(std::async([n] { return n; }).get());
	}
	void *p = part::step<7>(n);
	void *q = part::step<10>(n);
	__asm__ volatile("" : : "r"(p), "r"(q) : "memory");
	return p;
}
