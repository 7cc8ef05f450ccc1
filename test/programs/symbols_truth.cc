// symbols_truth.cc - a program whose names and lines are known: they are looked up by the comments `mark: …` in this file.
//
// symbols_truth [PLUGIN]
// Runs in: a test program. Each function allocates once, 1000 bytes or a little more, and keeps it. PLUGIN (libplugin.so) is
// loaded, allocates 5000 bytes, and is closed again. Two threads stand in known functions. `ready`; a line on stdin: everything
// once more, through sites that were not used before, then `again`; the end of stdin ends it.
//
// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
#define INLINE __attribute__((always_inline)) inline
#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")

static void *kept[64];
static int kept_count;
static void keep(void *p)
{
	KEEP(p);
	kept[kept_count++ % 64] = p;
}

extern "C" NOINLINE void plain_c(void) // mark: plain_c_start
{
	void *p = malloc(1001); // mark: plain_c
	keep(p);
}

namespace truth {

INLINE void *innermost(size_t n) // mark: innermost_start
{
	void *p = malloc(n); // mark: innermost
	KEEP(p);
	return p;
}

INLINE void *middle(size_t n) // mark: middle_start
{
	if (n == 0)
		return nullptr;
	return innermost(n + 2); // mark: middle
}

template <typename T>
NOINLINE T *outer(size_t n) // mark: outer_start
{
	T *p = static_cast<T *>(middle(n)); // mark: outer
	keep(p);
	return p;
}

struct Base {
	virtual ~Base() {}
	virtual void work(int n) = 0;
};

template <int N>
struct Derived : Base {
	NOINLINE void work(int n) override // mark: work_start
	{
		keep(malloc(1010 + N + n)); // mark: work
	}
};

struct Built {
	NOINLINE explicit Built(int n) // mark: built_start
	{
		keep(malloc(1020 + n)); // mark: built
	}
};

NOINLINE int operator+(const Built &, int n) // mark: plus_start
{
	keep(malloc(1030 + n)); // mark: plus
	return n;
}

namespace {
NOINLINE void hidden(const char *, double) // mark: hidden_start
{
	keep(malloc(1040)); // mark: hidden
}
} // namespace

NOINLINE void lambdas()
{
	auto l = [](size_t n) NOINLINE { // mark: lambda_start
		keep(malloc(n)); // mark: lambda
	};
	l(1050); // mark: lambda_caller
	KEEP(&l);
}

NOINLINE void two_on_a_line() // mark: two_start
{
	keep(malloc(1060)), keep(malloc(1061)); // mark: two
}

NOINLINE void standing(int fd) // mark: standing_start
{
	char c;
	ssize_t n = read(fd, &c, 1); // mark: standing
	KEEP(n);
}

INLINE void inlined_standing(int fd) // mark: inlined_standing_start
{
	standing(fd); // mark: inlined_standing
	KEEP(&fd);
}

} // namespace truth

static void *thread(void *arg) // mark: thread_start
{
	truth::inlined_standing(*static_cast<int *>(arg)); // mark: thread
	KEEP(arg);
	return nullptr;
}

static NOINLINE void first()
{
	plain_c(); // mark: plain_c_caller
	truth::outer<long>(1002); // mark: outer_caller
	truth::Derived<3> d;
	static_cast<truth::Base *>(&d)->work(1);
	truth::Built b(2);
	int n = b + 3;
	truth::hidden("", n);
	truth::lambdas();
	truth::two_on_a_line();
	KEEP(&n);
}

static NOINLINE void second()
{
	truth::outer<char *>(1002);
	truth::Derived<7> d;
	static_cast<truth::Base *>(&d)->work(1);
	KEEP(&d);
}

static void plugin(const char *path)
{
	void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	void *(*call)(size_t) = nullptr;
	if (h)
		*reinterpret_cast<void **>(&call) = dlsym(h, "plugin_call");
	if (!call) {
		printf("dlerror %s\n", dlerror());
		exit(1);
	}
	keep(call(5000));
	if (dlclose(h) != 0)
		puts("dlclose_failed 1");
	printf("unloaded %d\n", dlopen(path, RTLD_NOW | RTLD_NOLOAD) == nullptr);
}

int main(int argc, char **argv)
{
	static int fds[2];
	pthread_t t[2];
	char c;
	if (pipe(fds) != 0)
		return 1;
	first();
	if (argc > 1)
		plugin(argv[1]);
	for (auto &x : t)
		pthread_create(&x, nullptr, thread, &fds[0]);
	puts("ready 1");
	fflush(stdout);
	if (read(0, &c, 1) == 1) {
		second();
		puts("again 1");
		fflush(stdout);
		while (read(0, &c, 1) > 0)
			;
	}
	return 0;
}
