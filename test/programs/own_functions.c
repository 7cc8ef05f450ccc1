/* own_functions.c - a program that defines functions of libc itself, as those with a sanitizer in them do: they may be
 * called once it has started, not before.
 *
 * Runs in: a process of its own, bare or under the shim. Linked with -rdynamic, so that libraries find these.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static int started;

#define TOO_EARLY(name, type, params) \
	type name params \
	{ \
		if (!started) \
			_exit(99); \
		return 0; \
	}
TOO_EARLY(dl_iterate_phdr, int, (int (*visit)(struct dl_phdr_info *, size_t, void *), void *arg))
TOO_EARLY(memmem, void *, (const void *a, size_t n, const void *b, size_t m))
TOO_EARLY(getauxval, unsigned long, (unsigned long type))
TOO_EARLY(secure_getenv, char *, (const char *name))
TOO_EARLY(getenv, char *, (const char *name))
TOO_EARLY(getpid, int, (void))
TOO_EARLY(sysconf, long, (int name))
TOO_EARLY(gnu_get_libc_version, const char *, (void))

static void *nothing(void *arg)
{
	return arg;
}

int main(void)
{
	pthread_t thread;
	started = 1;
	puts(pthread_create(&thread, NULL, nothing, NULL) || pthread_join(thread, NULL) ? "no thread" : "started");
	return 3;
}
