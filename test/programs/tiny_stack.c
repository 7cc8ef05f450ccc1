/* tiny_stack.c - threads on the smallest stack there is, which allocate in every way.
 *
 * Runs in: a test program; it must print the same with the shim and without.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <malloc.h>

#include "truth.h"

static void *allocate(void *arg)
{
	void *p;
	for (int i = 0; i < 300; i++) {
		free(malloc(3000));
		free(calloc(3, 1000));
		p = malloc(100);
		p = realloc(p, 5000);
		free(p);
		free(aligned_alloc(256, 1024));
		p = NULL;
		if (posix_memalign(&p, 64, 100) == 0)
			free(p);
	}
	*(int *)arg = 1;
	return malloc(777);
}

int main(void)
{
	int done[20] = {0}, sum = 0;
	pthread_t t[20];
	pthread_attr_t a;
	pthread_attr_init(&a);
	printf("set_stack %d\n", pthread_attr_setstacksize(&a, (size_t)PTHREAD_STACK_MIN));
	for (int i = 0; i < 20; i++)
		if (pthread_create(&t[i], &a, allocate, &done[i]) != 0)
			done[i] = -100;
	for (int i = 0; i < 20; i++) {
		void *p = NULL;
		if (done[i] >= 0)
			pthread_join(t[i], &p);
		free(p);
		sum += done[i];
	}
	printf("threads_done %d\nend 1\n", sum);
	return 0;
}
