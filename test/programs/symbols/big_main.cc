// big_main.cc - a program of many parts, and a thread that does nothing but read the clock.
//
// Runs in: a test program (test_symbols.py links it with one object file of big_part.cc many times over). `ready`; then, for
// each line on stdin, `gap_N LONGEST WITH_OTHERS`: the longest time, in ns, between two looks at the clock since the last line, less that in which
// the thread could have run but had no processor (-1: the kernel does not say); and the longest of all. The end of stdin ends it.
//
// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <pthread.h>
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

// ns that this thread has waited for a processor.
static long waited_for_processor(int fd)
{
	char text[100] = "";
	long ran = 0, waited = 0;
	if (pread(fd, text, sizeof text - 1, 0) <= 0 || sscanf(text, "%ld %ld", &ran, &waited) != 2)
		return -1;
	return waited;
}

static void *clock_reader(void *arg)
{
	int fd = open("/proc/thread-self/schedstat", O_RDONLY);
	long before = waited_for_processor(fd), last = now(), looked = last;
	unsigned of = 0;
	while (!stop) {
		long t = now(), gap = t - last;
		last = t;
		if (of != epoch) {
			of = epoch;
			longest = before < 0 ? -1 : 0;
			others = 0;
			continue;
		}
		if (gap < 50000 && t - looked < 500000)
			continue;
		looked = t;
		long waited = waited_for_processor(fd);
		if (before >= 0 && gap - (waited - before) > longest)
			longest = gap - (waited - before);
		if (gap > others)
			others = gap;
		before = waited;
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
