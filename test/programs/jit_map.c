/* jit_map.c - machine code made at run time, named in /tmp/perf-PID.map: it burns CPU, calls C, allocates and waits.
 *
 * Runs in: a test program. All of the code keeps frame pointers. Functions of the map: "burn seventy:/srv/a b.js:12"
 * and "burn twenty (code used again)" are loops; the latter lies where "old code" was, which ran and stands earlier in
 * the map. "call:c_ten" calls c_ten, which burns 10; "jit_allocates" and "jit_of_site" call malloc and via_jit,
 * "call:stand_here" calls stand_here, which waits. Truth: `map PATH`, `code START END`, lines of truth.h of the sites,
 * `ready`. At each line on stdin, in ns of CPU: `seventy NS`, `twenty NS`, `ten NS`, `wall NS`, `mark K`. Ends with
 * stdin and removes the file.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "clocks.h"
#include "truth.h"

enum { CODE_BYTES = 4096, SLOT_BYTES = 64, BLOCKS = 400, LEAF_SIZE = 3000, SITE_SIZE = 5000, OLD_SIZE = 16 };

typedef void *callback(void *);

/* long f(long steps): counts down. void *f(callback, argument): calls it. */
#if defined(__x86_64__)
static const unsigned char loop_code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0xff, 0xcf, 0x75, 0xfb, 0x5d, 0xc3};
static const unsigned char call_code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0xf8,
                                          0x48, 0x89, 0xf7, 0xff, 0xd0, 0x5d, 0xc3};
#elif defined(__aarch64__)
static const unsigned loop_code[] = {0xa9bf7bfd, 0x910003fd, 0xf1000400, 0x54ffffe1, 0xa8c17bfd, 0xd65f03c0};
static const unsigned call_code[] = {0xa9bf7bfd, 0x910003fd, 0xaa0003e2, 0xaa0103e0,
                                     0xd63f0040, 0xa8c17bfd, 0xd65f03c0};
#endif

static char *code;
static FILE *map;
static char map_path[64];

/* Write a function into its slot, and its line into the map. */
static void *make(int slot, const void *bytes, size_t len, const char *name)
{
	char *at = code + slot * SLOT_BYTES;
	mprotect(code, CODE_BYTES, PROT_READ | PROT_WRITE);
	memcpy(at, bytes, len);
	mprotect(code, CODE_BYTES, PROT_READ | PROT_EXEC);
	__builtin___clear_cache(at, at + len);
	fprintf(map, "%lx %x %s\n", (unsigned long)at, SLOT_BYTES, name);
	fflush(map);
	return at;
}

#define MAKE_LOOP(slot, name) ((long (*)(long))make(slot, loop_code, sizeof loop_code, name))
#define MAKE_CALL(slot, name) ((void *(*)(callback *, void *))make(slot, call_code, sizeof call_code, name))

static long (*burn_seventy)(long), (*burn_twenty)(long);
static void *(*call_ten)(callback *, void *), *(*call_stand)(callback *, void *);
static void *(*jit_allocates)(callback *, void *), *(*jit_of_site)(callback *, void *);

/* --- CPU -------------------------------------------------------------------------------------------- */

enum { STEPS = 300000 };
static const int shares[] = {70, 20, 10};
static atomic_llong burnt[3];

SITE static void *c_ten(void *arg)
{
	spin(STEPS);
	KEEP(arg);
	return arg;
}

/* The function that has had least of its share is next: the shares are exact, however fast each is. */
SITE static void burn_next(void)
{
	int next = 0;
	for (int i = 1; i < 3; i++)
		if (burnt[i] * shares[next] < burnt[next] * shares[i])
			next = i;
	int64_t from = now_ns(CLOCK_THREAD_CPUTIME_ID);
	switch (next) {
	case 0: burn_seventy(STEPS); break;
	case 1: burn_twenty(STEPS); break;
	default: KEEP(call_ten(c_ten, NULL)); break;
	}
	atomic_fetch_add(&burnt[next], now_ns(CLOCK_THREAD_CPUTIME_ID) - from);
}

static void *burning(void *arg)
{
	pthread_setname_np(pthread_self(), "jit-burns");
	for (;;)
		burn_next();
	return arg;
}

static void tell(int mark)
{
	printf("seventy %lld\ntwenty %lld\nten %lld\n", atomic_load(&burnt[0]), atomic_load(&burnt[1]),
	       atomic_load(&burnt[2]));
	printf("wall %lld\nmark %d\n", (long long)now_ns(CLOCK_MONOTONIC), mark);
	fflush(stdout);
}

/* --- a thread that waits, below a frame of the map ----------------------------------------------------- */

static int pipe_fd[2];

SITE static void *stand_here(void *arg)
{
	char c;
	if (read(pipe_fd[0], &c, 1) >= 0)
		abort();
	return arg;
}

static void *standing(void *arg)
{
	pthread_setname_np(pthread_self(), "jit-stands");
	KEEP(call_stand(stand_here, NULL));
	return arg;
}

/* --- heap ------------------------------------------------------------------------------------------- */

SITE static void *via_jit(void *size)
{
	void *p = malloc((size_t)size);
	KEEP(p);
	return p;
}

static void allocate(void)
{
	for (int i = 0; i < BLOCKS; i++) {
		keep_block(jit_allocates((callback *)(void *)malloc, (void *)LEAF_SIZE));
		keep_block(jit_of_site(via_jit, (void *)SITE_SIZE));
		free(jit_of_site(via_jit, (void *)SITE_SIZE));
	}
	truth_add("jit_allocates", LEAF_SIZE, BLOCKS, BLOCKS);
	truth_add("via_jit", SITE_SIZE, 2 * BLOCKS, BLOCKS);
	truth_add("via_jit", OLD_SIZE, 1, 1);
	truth_add("jit_of_site", SITE_SIZE, 2 * BLOCKS, BLOCKS);
}

static void make_all(void)
{
	snprintf(map_path, sizeof map_path, "/tmp/perf-%d.map", (int)getpid());
	unlink(map_path);
	umask(022);
	map = fopen(map_path, "wx");
	code = mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!map || code == MAP_FAILED) {
		fprintf(stderr, "jit_map: %s\n", strerror(errno));
		exit(1);
	}
	burn_seventy = MAKE_LOOP(0, "burn seventy:/srv/a b.js:12");
	KEEP(MAKE_CALL(1, "old code")(via_jit, (void *)OLD_SIZE));
	burn_twenty = MAKE_LOOP(1, "burn twenty (code used again)");
	call_ten = MAKE_CALL(2, "call:c_ten");
	call_stand = MAKE_CALL(3, "call:stand_here");
	jit_allocates = MAKE_CALL(4, "jit_allocates");
	jit_of_site = MAKE_CALL(5, "jit_of_site");
}

int main(void)
{
	char c;
	pthread_t thread;
	make_all();
	allocate();
	if (pipe(pipe_fd) || pthread_create(&thread, NULL, burning, NULL) ||
	    pthread_create(&thread, NULL, standing, NULL))
		return 1;
	truth_print();
	printf("map %s\ncode %ld %ld\nready 1\n", map_path, (long)code, (long)code + CODE_BYTES);
	fflush(stdout);
	for (int mark = 1; read(0, &c, 1) > 0; mark++)
		tell(mark);
	unlink(map_path);
	return 0;
}
