/* scopes.cc - functions that no other file can call, most of them inlined: compilers give them no linker's name, so
 * that what they are in is known from their debug information alone. test_symbolize.py lists their names.
 *
 * Runs in: programs under test.
 *
 * SPDX-License-Identifier: Apache-2.0 */
extern "C" __attribute__((noinline, noipa)) int sink(int v);
extern "C" int sink(int v)
{
	__asm__ volatile("" : "+r"(v));
	return v;
}

#ifndef ALWAYS
#define ALWAYS __attribute__((always_inline))
#endif
#define INLINED ALWAYS inline

namespace first
{
namespace
{
struct Job {
	INLINED int run(int v)
	{
		return sink(v) + 1;
	}
	struct Part {
		INLINED int run(int v)
		{
			return sink(v) + 2;
		}
	};
};
template <typename T> struct Box {
	INLINED T open(T v)
	{
		return sink(v) + 3;
	}
};
INLINED int step(int v)
{
	return Job().run(v) + Job::Part().run(v) + Box<int>().open(v);
}
} // namespace
__attribute__((noinline)) int work(int v)
{
	return step(v) * 3;
}
} // namespace first

namespace second
{
namespace
{
struct Job {
	INLINED int run(int v)
	{
		return sink(v) + 5;
	}
};
} // namespace
namespace inner
{
static INLINED int step(int v)
{
	return Job().run(v) + 1;
}
} // namespace inner
__attribute__((noinline)) int work(int v)
{
	struct Local {
		INLINED int run(int n)
		{
			return sink(n) + 7;
		}
	};
	auto twice = [](int n) ALWAYS { return sink(n) * 2; };
	return inner::step(v) + Local().run(v) + twice(v);
}
} // namespace second

int main(int argc, char **)
{
	return first::work(argc) + second::work(argc) == 0;
}
