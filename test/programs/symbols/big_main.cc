// big_main.cc - a program of many parts, and a thread that does nothing but read the clock.
//
// Runs in: a test program (test_symbols.py links it with one object file of big_part.cc many times over). `ready`; then, for each line on stdin,
// `gap LONGEST OTHERS`: the longest time, in ns, between two looks at the clock since the last line in which nothing else ran on
// the thread's processor instead of it, and the longest of all. The end of stdin ends it.
//
// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

typedef void *entry(size_t, int);
extern "C" entry *const __start_big_entries[], *const __stop_big_entries[];

static std::atomic<bool> stop;
static std::atomic<unsigned> epoch;
static std::atomic<long> longest, others;

static long now()
{
	timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000l + t.tv_nsec;
}

static long preempted()
{
	rusage u;
	getrusage(RUSAGE_THREAD, &u);
	return u.ru_nivcsw;
}

static void *clock_reader(void *arg)
{
	long last = now(), looked = last, switches = preempted();
	unsigned of = 0;
	while (!stop) {
		long t = now(), gap = t - last;
		last = t;
		if (of != epoch) {
			of = epoch;
			longest = others = 0;
			continue;
		}
		if (gap < 50000 && t - looked < 500000)
			continue;
		looked = t;
		long s = preempted();
		if (s == switches && gap > longest)
			longest = gap;
		if (gap > others)
			others = gap;
		switches = s;
		last = now();
	}
	return arg;
}

int main(int argc, char **)
{
	long sum = 0;
	pthread_t t;
	char c;
	for (entry *const *e = __start_big_entries; e < __stop_big_entries; e++)
		sum += reinterpret_cast<long>((*e)(1000, argc)) & 1;
	pthread_create(&t, nullptr, clock_reader, nullptr);
	puts("ready 1");
	fflush(stdout);
	int n = 0;
	while (read(0, &c, 1) > 0) {
		printf("gap_%d %ld %ld\n", n++, longest.load(), others.load());
		fflush(stdout);
		epoch++;
	}
	stop = true;
	pthread_join(t, nullptr);
	return static_cast<int>(sum); // 0: blocks are aligned
}
