/* hard_names.cc - threads that stand in functions whose names are hard to read: operators, lambdas that take functions,
 * parentheses within parentheses; and two that wait for each other for good.
 *
 * Runs in: a test program. Truth: `threads N`, all of them; `ready` when they stand; waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include <pthread.h>

#include "truth.h"

static std::atomic<int> standing;
static int gate[2];

/* Stands until main ends. */
static void stand()
{
	char c;
	standing++;
	while (read(gate[0], &c, 1) > 0)
		;
}

namespace {

struct number {
	number operator%(int) const
	{
		stand();
		return *this;
	}
	number operator/(int) const
	{
		stand();
		return *this;
	}
	number operator()(void (*f)(void (*)())) const
	{
		stand();
		if (f)
			f(stand);
		return *this;
	}
	explicit operator bool() const
	{
		stand();
		return true;
	}
	bool operator<(int) const
	{
		stand();
		return true;
	}
};

template <class F> void call(F f)
{
	f();
	KEEP(&f);
}

template <int (*F)(int (*)(int))> void with_function()
{
	stand();
	KEEP(F);
}

int apply(int (*f)(int))
{
	return f ? f(1) : 0;
}

std::mutex one, other;

__attribute__((noinline)) void take_other()
{
	std::lock_guard<std::mutex> g(one);
	standing++;
	while (standing < 9)
		std::this_thread::yield();
	other.lock();
}

__attribute__((noinline)) void take_one()
{
	std::lock_guard<std::mutex> g(other);
	standing++;
	while (standing < 9)
		std::this_thread::yield();
	one.lock();
}

} // namespace

int main()
{
	if (pipe(gate))
		return 1;
	std::thread t[] = {
		std::thread([] { KEEP((number() % 2, &gate)); }),
		std::thread([] { KEEP((number() / 2, &gate)); }),
		std::thread([] { KEEP((number()(nullptr), &gate)); }),
		std::thread([] { KEEP((bool(number()) ? &gate : nullptr)); }),
		std::thread([] { KEEP((number() < 2 ? &gate : nullptr)); }),
		std::thread([] { call([] { std::function<void(std::function<void()>)> f = [](auto g) { g(); }; f(stand); }); }),
		std::thread(with_function<apply>),
		std::thread(take_other),
		std::thread(take_one),
	};
	while (standing < 9)
		usleep(1000);
	printf("threads %zu\n", 1 + sizeof t / sizeof *t);
	ready_and_wait();
	_exit(0);
}
