/* truth.h - what the programs with a known answer share: a table of what each site really did, printed
 * as lines `SITE SIZE ALLOCATED LIVE` (blocks of that size), and the wait for the end of stdin.
 *
 * Runs in: test programs. Its own table lives in static storage, so keeping the truth allocates nothing.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TRUTH_H
#define TRUTH_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A site is a function of its own frame; its call of the allocator is never a tail call, because the
 * result is looked at afterwards. */
#define SITE __attribute__((noinline, noclone))
#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")

struct truth {
	const char *site;
	size_t size;
	long allocated, live;
};

static struct truth truths[256];
static size_t truth_count;
static pthread_mutex_t truth_lock = PTHREAD_MUTEX_INITIALIZER;

/* Count blocks of a site: `allocated` more were made, `live` more (or fewer) are in use. */
__attribute__((unused)) static void truth_add(const char *site, size_t size, long allocated, long live)
{
	pthread_mutex_lock(&truth_lock);
	size_t i = 0;
	while (i < truth_count && (truths[i].size != size || strcmp(truths[i].site, site) != 0))
		i++;
	if (i == truth_count) {
		if (truth_count == sizeof truths / sizeof *truths)
			abort();
		truths[truth_count++] = (struct truth){site, size, 0, 0};
	}
	truths[i].allocated += allocated;
	truths[i].live += live;
	pthread_mutex_unlock(&truth_lock);
}

__attribute__((unused)) static void truth_print(void)
{
	for (size_t i = 0; i < truth_count; i++)
		printf("%s %zu %ld %ld\n", truths[i].site, truths[i].size, truths[i].allocated, truths[i].live);
}

/* Say that the truth is told, and stay alive until the test closes stdin. */
__attribute__((unused)) static void ready_and_wait(void)
{
	char c;
	puts("ready 1");
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
}

/* Blocks that must stay alive hang on a chain through their own first bytes. */
__attribute__((unused)) static void *kept_blocks;
__attribute__((unused)) static void keep_block(void *p)
{
	*(void **)p = kept_blocks;
	kept_blocks = p;
}

#endif
