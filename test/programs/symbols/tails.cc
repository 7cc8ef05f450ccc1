/* tails.cc - functions whose last act is a call, which compilers make a jump: no stack has a frame of theirs.
 *
 * Runs in: programs under test. They run until the input ends.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <mutex>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <thread>
#include <unistd.h>

#define OWN extern "C" __attribute__((noinline, used))

static std::mutex lock;
static int pipe_ends[2];

OWN void *make_buffer(size_t n)
{
	return malloc(n);
}
OWN void *make_table(size_t rows)
{
	return make_buffer(rows * 1000);
}
OWN char *make_object(size_t n)
{
	return new char[n];
}
/* Only one of two ways is certain to have come by make_buffer. */
OWN void *make_large(size_t n)
{
	return malloc(n + 1);
}
OWN void *make_either(size_t n)
{
	if (n > 10)
		return make_large(n);
	return make_buffer(n * 3000);
}
OWN void work_under_lock(void)
{
	std::lock_guard<std::mutex> held(lock);
	usleep(20000);
}
/* These are called by pointers, so no call names them. */
static std::mutex pointed;
OWN void hold_long(void)
{
	std::lock_guard<std::mutex> held(pointed);
	usleep(50000);
}
OWN void hold_short(void)
{
	std::lock_guard<std::mutex> held(pointed);
	usleep(100);
}
static void (*volatile ways[])(void) = {hold_long, hold_short};
OWN long stand_still(char *to)
{
	return read(pipe_ends[0], to, 1);
}
OWN unsigned long spin_inner(unsigned long n)
{
	volatile unsigned long v = 0;
	for (unsigned long i = 0; i < n; i++)
		v += i * i;
	return v;
}
OWN unsigned long spin(unsigned long n)
{
	return spin_inner(n * 1000);
}

OWN void *stander(void *)
{
	char c;
	stand_still(&c);
	return NULL;
}
OWN void *spinner(void *)
{
	for (;;)
		if (spin(1000) == 1)
			break;
	return NULL;
}
OWN void *locker(void *)
{
	for (;;)
		work_under_lock();
	return NULL;
}
OWN void *pointer(void *)
{
	for (;;)
		ways[0]();
	return NULL;
}
OWN void *alternator(void *)
{
	for (unsigned i = 0;; i++)
		ways[i % 2]();
	return NULL;
}

int main(int, char **)
{
	static void *kept[400];
	pthread_t t;
	if (pipe(pipe_ends) < 0)
		return 1;
	for (int i = 0; i < 400;) {
		kept[i++] = make_table(3);
		kept[i++] = make_object(4000);
		kept[i++] = make_either(i % 8 ? 5000 : 2);
		kept[i++] = make_buffer(100);
	}
	pthread_create(&t, NULL, stander, NULL);
	pthread_create(&t, NULL, spinner, NULL);
	for (int i = 0; i < 3; i++)
		pthread_create(&t, NULL, locker, NULL);
	pthread_create(&t, NULL, pointer, NULL);
	for (int i = 0; i < 2; i++)
		pthread_create(&t, NULL, alternator, NULL);
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
	_exit(kept[7] == NULL);
}
