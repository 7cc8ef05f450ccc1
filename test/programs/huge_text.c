/* huge_text.c - a program that moves its code to memory without a file, at the same addresses, as for huge pages.
 *
 * Runs in: a test program, until stdin ends. argv[1]: what is moved (`none`, `text`, its `inner` pages, `all` of the
 * program's segments, `library`: the text of libm), argv[2]: where to (`private` or `shared` memory, a `memfd`, memory
 * that has a `name`). Prints `ready`, or `refused` where the kernel gives memory no names. burn and libm's sine work in
 * turns, and hold what they allocate.
 * flags: -lm -Wl,-z,separate-code
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <link.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "truth.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d61
#define PR_SET_VMA_ANON_NAME 0
#endif

enum { PAGE = 4096, KEPT = 2000 };

static const char *what, *where;
static void *kept[KEPT];
static int count;

static void fail(const char *why)
{
	printf("%s\n", why);
	exit(3);
}

static void *make_memory(size_t bytes)
{
	int flags = strcmp(where, "shared") == 0 || strcmp(where, "memfd") == 0 ? MAP_SHARED : MAP_PRIVATE, fd = -1;
	if (strcmp(where, "memfd") == 0)
		fd = memfd_create("text", MFD_CLOEXEC);
	if (fd >= 0 && ftruncate(fd, (off_t)bytes))
		fail("ftruncate");
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, fd < 0 ? flags | MAP_ANONYMOUS : flags, fd, 0);
	if (p == MAP_FAILED)
		fail("mmap");
	if (strcmp(where, "name") == 0 && prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, bytes, "text"))
		fail("refused");
	if (fd >= 0)
		close(fd);
	return p;
}

static void move(uintptr_t from, uintptr_t to, int protection)
{
	size_t bytes = to - from;
	void *copy = make_memory(bytes);
	memcpy(copy, (const void *)from, bytes);
	mprotect(copy, bytes, protection);
	if (mremap(copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)from) == MAP_FAILED)
		fail("mremap");
}

static int protection_of(const ElfW(Phdr) * p)
{
	return (p->p_flags & PF_R ? PROT_READ : 0) | (p->p_flags & PF_W ? PROT_WRITE : 0) |
	       (p->p_flags & PF_X ? PROT_EXEC : 0);
}

static void move_segments(const struct dl_phdr_info *info)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t from = (info->dlpi_addr + p->p_vaddr) & -(uintptr_t)PAGE;
		uintptr_t to = (info->dlpi_addr + p->p_vaddr + p->p_memsz + PAGE - 1) & -(uintptr_t)PAGE;
		bool inner = strcmp(what, "inner") == 0;
		if (p->p_type == PT_LOAD && (p->p_flags & PF_X || strcmp(what, "all") == 0))
			move(inner ? from + PAGE : from, inner ? to - PAGE : to, protection_of(p));
	}
}

static int look(struct dl_phdr_info *info, size_t size, void *arg)
{
	bool *is_first = arg, is_program = *is_first;
	(void)size;
	*is_first = false;
	if (strcmp(what, "library") ? is_program : strstr(info->dlpi_name, "/libm.so") != NULL)
		move_segments(info);
	return 0;
}

__attribute__((noinline, noclone, aligned(PAGE))) unsigned burn(unsigned x)
{
	for (int i = 0; i < 100000; i++)
		x = x * 1664525u + 1013904223u;
	KEEP(&x);
	if (count < KEPT)
		kept[count++] = malloc(10000);
	return x;
}

__attribute__((noinline, noclone, aligned(PAGE))) double burn_in_libm(double x)
{
	for (int i = 0; i < 3000; i++)
		x = sin(x) + 1e9;
	KEEP(&x);
	return x;
}

__attribute__((noinline, noclone, aligned(PAGE))) void *work(void *arg)
{
	double y = 1;
	for (unsigned x = 1;;) {
		x = burn(x);
		y = burn_in_libm(y);
		KEEP(&y);
	}
	return arg;
}

/* Text of at least three pages; the other functions stand in the outer ones. */
int main(int argc, char **argv)
{
	bool is_first = true;
	pthread_t t;
	what = argc > 1 ? argv[1] : "none";
	where = argc > 2 ? argv[2] : "private";
	if (strcmp(what, "none"))
		dl_iterate_phdr(look, &is_first);
	if (pthread_create(&t, NULL, work, NULL))
		return 1;
	ready_and_wait();
	return 0;
}
