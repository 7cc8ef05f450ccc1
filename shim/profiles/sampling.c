/* sampling.c - Poisson sampling over the bytes requested.
 *
 * Runs in: app's thread inside an allocation hook; init.
 * So: no libc (libm is not linked; its functions may allocate thread state), floating point in registers that a
 * function call may clobber, in an environment of its own (fp_begin).
 * Shared: `sampler` is immutable after init but for the seed (atomic); the rest is thread-local.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/sampling.h"

#include <assert.h>
#include <signal.h>
#include <string.h>

#include "shim/base/confined.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"

__thread struct sampler_thread sampler_thread;

/* At most 64 bytes of initial-exec TLS in all (ARCHITECTURE.md). */
static_assert(sizeof(struct sampler_thread) <= 64, "thread-local storage of the shim");

/* A countdown that no program uses up. */
static const int64_t NEVER = INT64_MAX / 2;

static struct {
	bool started;
	uint64_t rate_bytes;
	uint64_t seed; /* atomic */
} sampler FORKED;

void sampler_start(uint64_t rate_bytes, uint64_t seed)
{
	sampler.rate_bytes = rate_bytes;
	sampler.seed = seed;
	__atomic_store_n(&sampler.started, true, __ATOMIC_RELEASE);
}

uint64_t sampler_rate_bytes(void)
{
	return sampler.rate_bytes;
}

FORKED_CODE void sampler_fork_child(void)
{
	__atomic_fetch_add(&sampler.seed, (uint64_t)house_pid(), __ATOMIC_RELAXED);
	sampler_thread.random = 0;
	sampler_thread.countdown_bytes = 0; /* draw at once: the next block is due no more than any other */
}

/* splitmix64 (Steele, Lea, Flood, 2014). */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* ln(m 2^e) = ln m + e ln 2 with m around 1; ln m = 2 artanh((m - 1) / (m + 1)), whose series gains more than a
 * decimal digit a term there. */
double sampler_minus_log(double u)
{
	uint64_t bits;
	memcpy(&bits, &u, sizeof bits);
	int exponent = (int)(bits >> 52 & 0x7ff) - 1023;
	bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
	double m;
	memcpy(&m, &bits, sizeof m);
	if (m > 1.4142135623730951) {
		m /= 2;
		exponent++;
	}
	static const double odd[] = {1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11,
	                             1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3,  1.0};
	double z = (m - 1) / (m + 1), z2 = z * z, sum = 0;
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
		sum = sum * z2 + odd[i];
	return -(2 * z * sum + exponent * 0.6931471805599453);
}

/* Halve x until the series of 1 - exp(-x) is short, then double back: with a = 1 - exp(-x),
 * 1 - exp(-2x) = a (2 - a). No cancellation anywhere. */
double sampler_one_minus_exp(double x)
{
	static const double part[] = {1.0 / 12, 1.0 / 11, 1.0 / 10, 1.0 / 9, 1.0 / 8, 1.0 / 7,
	                              1.0 / 6,  1.0 / 5,  1.0 / 4,  1.0 / 3, 1.0 / 2};
	int halved = 0;
	if (x > 64)
		return 1;
	for (; x > 0.25; x /= 2)
		halved++;
	double a = 1;
	for (size_t i = 0; i < sizeof part / sizeof *part; i++)
		a = 1 - a * x * part[i];
	a *= x;
	while (halved--)
		a *= 2 - a;
	return a;
}

/* The program may have unmasked floating point exceptions, or changed the rounding: our arithmetic is done in the
 * default environment, and leaves the program's as it was, flags included. */
#if defined(__x86_64__)
typedef unsigned fp_environment;

static inline fp_environment fp_begin(void)
{
	enum { ALL_MASKED_TO_NEAREST = 0x1f80 };
	unsigned before = __builtin_ia32_stmxcsr();
	__builtin_ia32_ldmxcsr(ALL_MASKED_TO_NEAREST);
	return before;
}

static inline void fp_end(fp_environment before)
{
	__builtin_ia32_ldmxcsr(before);
}
#else
typedef unsigned long fp_environment;

static inline fp_environment fp_begin(void)
{
	unsigned long control, status;
	__asm__ volatile("mrs %0, fpcr" : "=r"(control));
	__asm__ volatile("mrs %0, fpsr" : "=r"(status));
	__asm__ volatile("msr fpcr, %0" : : "r"(0ul));
	return control << 32 | status;
}

static inline void fp_end(fp_environment before)
{
	__asm__ volatile("msr fpcr, %0" : : "r"(before >> 32));
	__asm__ volatile("msr fpsr, %0" : : "r"(before & 0xffffffffu));
}
#endif

/* Between fp_begin and fp_end: the compiler knows nothing of the two, and may move arithmetic, but no call of what it
 * can't look into. */
#define FP_INSIDE __attribute__((noinline, noipa))

static FP_INSIDE int64_t distance_of(uint64_t random)
{
	double u = ((double)(random >> 11) + 0.5) * 0x1p-53;
	return (int64_t)(sampler_minus_log(u) * (double)sampler.rate_bytes);
}

static FP_INSIDE void weigh(size_t size, struct sampler_weight *w)
{
	double objects = 1 / sampler_one_minus_exp((double)size / (double)sampler.rate_bytes);
	w->objects = (uint64_t)(objects * SAMPLER_OBJECT_UNIT + 0.5);
	w->bytes = (uint64_t)(objects * (double)size + 0.5);
}

/* The distance to the next point, rounded so that a block of integer size is hit with exactly P(size). */
static int64_t draw_distance(struct sampler_thread *t)
{
	if (sampler.rate_bytes == 0)
		return NEVER;
	if (sampler.rate_bytes == 1)
		return 0;
	fp_environment before = fp_begin();
	int64_t distance = distance_of(next_random(&t->random));
	fp_end(before);
	return distance + 1;
}

static void set_up_thread(struct sampler_thread *t)
{
	uint64_t n = __atomic_add_fetch(&sampler.seed, 0x632be59bd9b4e019u, __ATOMIC_RELAXED);
	t->random = n ^ (uintptr_t)t;
	t->random = next_random(&t->random) | 1;
	t->countdown_bytes = draw_distance(t);
}

uint64_t sampler_random(void)
{
	struct sampler_thread *t = &sampler_thread;
	if (!t->random)
		set_up_thread(t);
	return next_random(&t->random);
}

bool sampler_enter(size_t size)
{
	struct sampler_thread *t = &sampler_thread;
	if (!__atomic_load_n(&sampler.started, __ATOMIC_ACQUIRE)) {
		t->countdown_bytes = 0;
		return false;
	}
	if (!t->random) {
		set_up_thread(t);
		if (sampler_skip(size))
			return false;
	}
	if (!sampler_hold())
		return false;
	if (!t->random) /* this is a copy, which just came to know */
		set_up_thread(t);
	t->samples++;
	t->countdown_bytes = NEVER;
	return true;
}

void sampler_leave(void)
{
	struct sampler_thread *t = &sampler_thread;
	t->countdown_bytes = draw_distance(t);
	sampler_release();
}

bool sampler_hold_alone(uint64_t *mask)
{
	static const uint64_t all = UINT64_MAX;
	stack_t stack = {.ss_flags = SS_DISABLE};
	if (sampler_thread.busy || confined())
		return false;
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, mask, sizeof all);
	os_call(SYS_sigaltstack, NULL, &stack);
	if (!(stack.ss_flags & SS_ONSTACK) && sampler_hold())
		return true;
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, mask, NULL, sizeof all);
	return false;
}

void sampler_release_alone(const uint64_t *mask)
{
	sampler_release();
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, mask, NULL, sizeof *mask);
}

int64_t sampler_shut(void)
{
	int64_t before = sampler_thread.countdown_bytes;
	sampler_thread.countdown_bytes = NEVER;
	return before;
}

void sampler_open(int64_t before)
{
	sampler_thread.countdown_bytes = before;
}

struct sampler_weight sampler_weight(size_t size)
{
	if (sampler.rate_bytes <= 1 || size == 0)
		return (struct sampler_weight){SAMPLER_OBJECT_UNIT, size};
	struct sampler_weight w;
	fp_environment before = fp_begin();
	weigh(size, &w);
	fp_end(before);
	return w;
}
