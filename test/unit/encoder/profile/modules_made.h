/* modules_made.h - a list of two modules: the test program, with a function that is known, and a library without a
 * file.
 *
 * Runs in: test programs. Each includes it once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_MODULES_MADE_H
#define PPROFSHIM_TEST_MODULES_MADE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <link.h>

#include "shim/snapshot.h"

static struct module program = {.path = "", .text = (struct module_text[1]){{0}}, .text_count = 1};
static struct module library = {.path = "/nowhere/libfoo.so",
                                .start = 0x10000,
                                .end = 0x20000,
                                .bias = 0x10000,
                                .text = (struct module_text[]){{0x11000, 0x12000, 0x1000}},
                                .text_count = 1};
static const struct module *modules[] = {&program, &library};

struct module_list snapshot_modules(void)
{
	return (struct module_list){2, modules};
}

int known_function_of_the_test(int x);
__attribute__((noinline)) int known_function_of_the_test(int x)
{
	return x * 3 + 1;
}

static int find_program(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size, (void)arg;
	program.bias = info->dlpi_addr;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
			program.text[0].start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
			program.text[0].end = program.text[0].start + info->dlpi_phdr[i].p_memsz;
		}
	return 1;
}

/* Fills in where the program lies. */
static void find_modules(void)
{
	dl_iterate_phdr(find_program, NULL);
	program.start = program.text[0].start, program.end = program.text[0].end;
}

#endif
