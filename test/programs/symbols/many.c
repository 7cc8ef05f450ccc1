/* many.c - C as compilers like to take it apart: inlined, split into hot and cold, aliased, cloned, unrolled.
 *
 * Runs in: nothing; test_symbolize.py compiles it in many ways and looks up addresses in it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "many.h"

#define COLD __attribute__((cold))
#define KEEP __attribute__((noinline))

static unsigned long state = 1;

static inline unsigned next_random(void)
{
	state = state * 6364136223846793005ul + 1442695040888963407ul;
	return (unsigned)(state >> 33);
}

static inline uint64_t mix(uint64_t h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdul;
	h ^= h >> 33;
	return h;
}

static inline uint64_t hash(const char *s)
{
	uint64_t h = 14695981039346656037ul;
	while (*s)
		h = mix(h ^ (unsigned char)*s++);
	return h;
}

COLD static void complain(const char *what, long n)
{
	fprintf(stderr, "many: %s: %ld\n", what, n);
	if (n > 1000000)
		abort();
}

/* A function of this kind gets a .cold part. */
#define TABLE(name, type, FORMAT) \
	struct name { \
		type *at; \
		size_t count, room; \
	}; \
	static inline int name##_order(const void *a, const void *b) \
	{ \
		type x = *(const type *)a, y = *(const type *)b; \
		return x < y ? -1 : x > y; \
	} \
	KEEP void name##_push(struct name *t, type v) \
	{ \
		if (t->count == t->room) { \
			size_t room = t->room ? t->room * 2 : 8; \
			type *at = realloc(t->at, room * sizeof *at); \
			if (__builtin_expect(!at, 0)) { \
				complain(#name " is full", (long)t->count); \
				exit(1); \
			} \
			t->at = at; \
			t->room = room; \
		} \
		t->at[t->count++] = v; \
	} \
	KEEP void name##_sort(struct name *t) \
	{ \
		qsort(t->at, t->count, sizeof *t->at, name##_order); \
		for (size_t i = 1; i < t->count; i++) \
			if (__builtin_expect(name##_order(&t->at[i - 1], &t->at[i]) > 0, 0)) \
				complain(#name " is not sorted", (long)i); \
	} \
	KEEP size_t name##_find(const struct name *t, type v) \
	{ \
		size_t low = 0, high = t->count; \
		while (low < high) { \
			size_t middle = low + (high - low) / 2; \
			if (name##_order(&t->at[middle], &v) < 0) \
				low = middle + 1; \
			else \
				high = middle; \
		} \
		return low; \
	} \
	KEEP void name##_print(const struct name *t) \
	{ \
		for (size_t i = 0; i < t->count && i < 3; i++) \
			printf(#name " " FORMAT "\n", t->at[i]); \
	} \
	KEEP uint64_t name##_digest(const struct name *t) \
	{ \
		uint64_t h = 0; \
		for (size_t i = 0; i < t->count; i++) \
			h = mix(h ^ (uint64_t)t->at[i]) + t->count / (1 + i % 7); \
		return h; \
	}

TABLE(bytes, unsigned char, "%u")
TABLE(shorts, short, "%d")
TABLE(words, unsigned, "%u")
TABLE(longs, long, "%ld")
TABLE(reals, double, "%g")

KEEP long aliased(long n)
{
	long sum = 0;
	for (long i = 0; i < n; i++)
		sum += (long)mix((uint64_t)i) % 7;
	return sum;
}
long alias_strong(long n) __attribute__((alias("aliased")));
long alias_weak(long n) __attribute__((weak, alias("aliased")));
static long alias_local(long n) __attribute__((alias("aliased"), used));

/* A grammar of sums and products: recursion that compilers inline a few levels of. */
struct text {
	const char *at;
	int failed;
};

static double expression(struct text *t);

static inline void skip_space(struct text *t)
{
	while (isspace((unsigned char)*t->at))
		t->at++;
}

static inline double number(struct text *t)
{
	char *end;
	double d = strtod(t->at, &end);
	if (end == t->at)
		t->failed = 1;
	t->at = end;
	return d;
}

static double factor(struct text *t)
{
	skip_space(t);
	if (*t->at == '(') {
		t->at++;
		double d = expression(t);
		skip_space(t);
		if (*t->at == ')')
			t->at++;
		else
			t->failed = 1;
		return d;
	}
	if (*t->at == '-') {
		t->at++;
		return -factor(t);
	}
	return number(t);
}

static double term(struct text *t)
{
	double d = factor(t);
	for (;;) {
		skip_space(t);
		if (*t->at == '*') {
			t->at++;
			d *= factor(t);
		} else if (*t->at == '/') {
			t->at++;
			double by = factor(t);
			if (by == 0) {
				complain("division by nothing", 0);
				t->failed = 1;
				return 0;
			}
			d /= by;
		} else {
			return d;
		}
	}
}

static double expression(struct text *t)
{
	double d = term(t);
	for (;;) {
		skip_space(t);
		if (*t->at == '+') {
			t->at++;
			d += term(t);
		} else if (*t->at == '-') {
			t->at++;
			d -= term(t);
		} else {
			return d;
		}
	}
}

/* A state machine: a jump table, and code far from its line. */
KEEP int machine(const char *s)
{
	int state_now = 0, seen = 0;
	for (; *s; s++) {
		switch (state_now) {
		case 0: state_now = isdigit((unsigned char)*s) ? 1 : isalpha((unsigned char)*s) ? 2 : 3; break;
		case 1:
			seen += *s;
			state_now = *s == 'x' ? 4 : 0;
			break;
		case 2:
			seen ^= *s;
			state_now = *s == 'y' ? 5 : 1;
			break;
		case 3:
			seen -= *s;
			state_now = *s == 'z' ? 6 : 2;
			break;
		case 4:
			seen *= 3;
			state_now = 7;
			break;
		case 5:
			seen += (int)hash(s);
			state_now = 6;
			break;
		case 6:
			seen += (int)strlen(s);
			state_now = 0;
			break;
		default: state_now = (int)(next_random() % 7); break;
		}
	}
	return seen;
}

static void fill_matrix(double m[16][16], double by)
{
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < 16; j++)
			m[i][j] = by * i - j / (by + 1);
}

static double trace_of_product(double a[16][16], double b[16][16])
{
	double sum = 0;
	for (int i = 0; i < 16; i++)
		for (int k = 0; k < 16; k++)
			sum += a[i][k] * b[k][i];
	return sum;
}

KEEP double matrices(int n)
{
	double a[16][16], b[16][16], sum = 0;
	for (int i = 0; i < n; i++) {
		fill_matrix(a, i);
		fill_matrix(b, n - i);
		sum += trace_of_product(a, b);
		if (sum < -1e300)
			complain("the sum is lost", i);
	}
	return sum;
}

static __attribute__((noclone, noinline)) int callback_a(int x)
{
	return header_mix(x) + 1;
}
static int callback_b(int x)
{
	return x > 3 ? header_mix(x) * 2 : header_clamp(x, 0, 3);
}

KEEP int call_all(int (*const *f)(int), int n)
{
	int sum = 0;
	for (int i = 0; i < n; i++)
		sum += f[i % 2](i);
	return sum;
}

int main(int argc, char **argv)
{
	struct bytes b = {0};
	struct shorts s = {0};
	struct words w = {0};
	struct longs l = {0};
	struct reals r = {0};
	for (int i = 0; i < 1000; i++) {
		unsigned v = next_random();
		bytes_push(&b, (unsigned char)v);
		shorts_push(&s, (short)v);
		words_push(&w, v);
		longs_push(&l, (long)v << 8);
		reals_push(&r, v / 7.0);
	}
	bytes_sort(&b), shorts_sort(&s), words_sort(&w), longs_sort(&l), reals_sort(&r);
	bytes_print(&b), shorts_print(&s), words_print(&w), longs_print(&l), reals_print(&r);
	uint64_t d = bytes_digest(&b) ^ shorts_digest(&s) ^ words_digest(&w) ^ longs_digest(&l) ^ reals_digest(&r);
	d += bytes_find(&b, 7) + shorts_find(&s, 7) + words_find(&w, 7) + longs_find(&l, 7) + reals_find(&r, 7);
	struct text t = {argc > 1 ? argv[1] : "1 + 2 * (3 - 4) / 5", 0};
	printf("%g %d\n", expression(&t), t.failed);
	int (*const calls[2])(int) = {callback_a, callback_b};
	printf("%lu %d %d %g %ld\n", (unsigned long)d, machine("12xy3z"), call_all(calls, argc + 9), matrices(argc),
	       aliased(argc) + alias_strong(3) + alias_weak(4) + alias_local(5));
	return 0;
}
