/* code.c - is an address code, and does it follow a call?
 *
 * Runs in: app's thread inside a hook, signal handler (all but code_learn), listener.
 * So: system calls alone; code is read by ways that cannot fault (it may be unmapped, or be for execution only).
 * Shared: both tables. A word of `returns` is a whole answer. A range is valid while its end is above its start; it is
 * written under the LEARN lock, its end last.
 *
 * Objects tell where their code is. Other code, made at run time, lies in executable memory that /proc/self/maps tells
 * of. It is read once for each such range, by the listener alone: a thread of the program would take a descriptor of
 * the program's for it. Until then, what follows a call counts as code in a hook, if it is in no object. An address
 * that turned out not to be code is not looked up again for a moment: words that only look like addresses are frequent
 * where a register is no frame pointer.
 *
 * Format: proc(5), maps: "start-end perms offset dev inode path", in hexadecimal, by address.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/code.h"

#include "shim/base/confined.h"
#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"
#include "shim/base/text.h"
#include "shim/libc/clock.h"
#include "shim/libc/modules.h"
#include "shim/stack/unwind.h"

enum {
	PAGE = 4096,
	RETURNS = 2048,
	RANGES = 64,
	REFUSED = 64,
	REFUSED_SHIFT = 16,
	REFUSED_NS = 500000000,
	MAPS_BYTES = 4096,
};

static shared_address returns[RETURNS] LARGE; /* return addresses that were found good */

static struct {
	shared_address start, end;
} ranges[RANGES];
static unsigned next_range; /* under LEARN */

static struct {
	uintptr_t at; /* address >> REFUSED_SHIFT */
	uint64_t until_ns;
} refused[REFUSED]; /* under LEARN */

static char maps[MAPS_BYTES] LARGE; /* under LEARN */

static bool is_in_range(uintptr_t pc)
{
	for (unsigned i = 0; i < RANGES; i++) {
		uintptr_t end = shared_load_acquire(&ranges[i].end);
		uintptr_t start = shared_load_acquire(&ranges[i].start);
		if (pc >= start && pc < end && shared_load_relaxed(&ranges[i].end) == end)
			return true;
	}
	return false;
}

enum code_answer code_is_at(uintptr_t pc)
{
	if (pc < PAGE || !arch_may_be_code(pc))
		return CODE_NO;
	return modules_hold_code(pc) || is_in_range(pc) ? CODE_YES : CODE_ASK;
}

static void keep_range_locked(uintptr_t start, uintptr_t end)
{
	unsigned i = next_range++ % RANGES;
	shared_store_seq_cst(&ranges[i].end, 0);
	shared_store_seq_cst(&ranges[i].start, start);
	shared_store_seq_cst(&ranges[i].end, end);
}

/* Takes a line of the mappings. Returns true if it is the one that holds pc, or lies behind it; *is_code tells. */
static bool take_line_locked(struct span line, uintptr_t pc, bool *is_code)
{
	uint64_t start, end;
	struct span first = span_cut(&line, '-'), second = span_cut(&line, ' ');
	if (!text_parse_uint(first, 16, &start) || !text_parse_uint(second, 16, &end) || pc >= end)
		return false;
	*is_code = pc >= start && line.len > 2 && line.at[2] == 'x';
	if (*is_code)
		keep_range_locked(start, end);
	return true;
}

/* Takes all whole lines; the beginning of another one moves to the front. Returns true at the line that was looked
 * for. */
static bool take_lines_locked(size_t *held, uintptr_t pc, bool *is_code)
{
	struct span rest = {maps, *held};
	const char *end;
	while (rest.len && (end = memchr(rest.at, '\n', rest.len))) {
		struct span line = {rest.at, (size_t)(end - rest.at)};
		if (take_line_locked(line, pc, is_code))
			return true;
		rest = (struct span){end + 1, rest.len - line.len - 1};
	}
	if (rest.len == MAPS_BYTES) /* a line longer than the buffer: its path does not matter */
		rest.len = 0;
	memmove(maps, rest.at, rest.len);
	*held = rest.len;
	return false;
}

static bool read_maps_locked(uintptr_t pc)
{
	bool is_code = false;
	size_t held = 0;
	int fd = (int)os_open("/proc/self/maps", O_RDONLY);
	if (fd < 0)
		return false;
	for (long n; (n = os_read(fd, maps + held, MAPS_BYTES - held)) > 0;) {
		held += (size_t)n;
		if (take_lines_locked(&held, pc, &is_code))
			break;
	}
	os_close(fd);
	return is_code;
}

bool code_learn(uintptr_t pc)
{
	enum code_answer known = code_is_at(pc);
	size_t i = (pc >> REFUSED_SHIFT) % REFUSED;
	if (known != CODE_ASK)
		return known == CODE_YES;
	if (modules_find(pc))
		return true;
	if (house_is_ours())
		return false;
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	if (confined() || (refused[i].at == pc >> REFUSED_SHIFT && now_ns < refused[i].until_ns))
		return false;
	if (read_maps_locked(pc))
		return true;
	refused[i].at = pc >> REFUSED_SHIFT;
	refused[i].until_ns = now_ns + REFUSED_NS;
	return false;
}

enum arch_callee code_callee_before(uintptr_t return_address, uintptr_t *to)
{
	unsigned char code[ARCH_BEFORE_BYTES] = {0};
	if (unwind_read_safely(code, return_address - sizeof code, sizeof code) != sizeof code)
		return ARCH_CALLS_NOTHING;
	return arch_callee_before(return_address, code, to);
}

static shared_address *place_of(uintptr_t return_address)
{
	return &returns[(return_address ^ return_address >> 11) % RETURNS];
}

bool code_may_be_return(uintptr_t return_address)
{
	uintptr_t to;
	return house_is_ours() && return_address >= PAGE && arch_may_be_code(return_address) &&
	       code_callee_before(return_address, &to) != ARCH_CALLS_NOTHING;
}

enum code_answer code_is_return(uintptr_t return_address)
{
	uintptr_t to = 0;
	if (return_address < PAGE || !arch_may_be_code(return_address))
		return CODE_NO;
	if (shared_load_relaxed(place_of(return_address)) == return_address)
		return CODE_YES;
	enum arch_callee callee = code_callee_before(return_address, &to);
	if (callee == ARCH_CALLS_NOTHING)
		return CODE_NO;
	enum code_answer here = code_is_at(return_address - 1);
	enum code_answer there = callee == ARCH_CALLS_ADDRESS ? code_is_at(to) : CODE_YES;
	if (here == CODE_NO || there == CODE_NO)
		return CODE_NO;
	if (here == CODE_ASK || there == CODE_ASK)
		return CODE_ASK;
	shared_store_relaxed(place_of(return_address), return_address);
	return CODE_YES;
}

void code_forget(void)
{
	for (size_t i = 0; i < RETURNS; i++)
		if (shared_load_relaxed(&returns[i]))
			shared_store_relaxed(&returns[i], 0);
	for (unsigned i = 0; i < RANGES; i++)
		if (shared_load_relaxed(&ranges[i].end))
			shared_store_relaxed(&ranges[i].end, 0);
}
