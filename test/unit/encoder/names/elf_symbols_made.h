/* elf_symbols_made.h - what the tests of elf_symbols.c share.
 *
 * Runs in: test programs. Each includes it once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_ELF_SYMBOLS_MADE_H
#define PPROFSHIM_TEST_ELF_SYMBOLS_MADE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder/names/elf_symbols.h"
#include "shim/base/pace.h"
#include "test/unit/support/count.h"

static size_t turns; /* of others */
static bool is_unwanted;

bool pace(void) /* pace.c's */
{
	turns++;
	return is_unwanted;
}

static uint64_t random_state = 88172645463325252u;
static inline uint64_t next_random(void)
{
	random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
	return random_state;
}

#endif
