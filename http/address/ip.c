/* ip.c - IP addresses as text.
 *
 * Runs in: listener, init. Memory of the caller alone, no libc but mem*.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/address/ip.h"

enum { GROUPS = 8 };

static bool parse_octet(struct span s, uint8_t *octet)
{
	uint64_t value;
	if (s.len == 0 || s.len > 3 || (s.len > 1 && s.at[0] == '0'))
		return false;
	if (!text_parse_uint(s, 10, &value) || value > 255)
		return false;
	*octet = (uint8_t)value;
	return true;
}

bool ip_parse_v4(struct span s, uint8_t address[4])
{
	for (int i = 0; i < 3; i++) {
		struct span part = span_cut(&s, '.');
		if (s.len == 0 || !parse_octet(part, &address[i]))
			return false;
	}
	return parse_octet(s, &address[3]);
}

/* Parse the groups of one side of "::", or of the whole address, into *to, at most `room`. Returns their
 * number, or -1. */
static int parse_groups(struct span s, bool may_end_dotted, uint16_t *to, int room)
{
	int n = 0;
	if (s.len == 0)
		return 0;
	for (bool more = true; more;) {
		const char *colon = memchr(s.at, ':', s.len);
		struct span group = span_cut(&s, ':');
		uint8_t v4[4];
		uint64_t value;
		more = colon != NULL;
		if (!more && may_end_dotted && n + 2 <= room && ip_parse_v4(group, v4)) {
			to[n++] = (uint16_t)(v4[0] << 8 | v4[1]);
			to[n++] = (uint16_t)(v4[2] << 8 | v4[3]);
			return n;
		}
		if (n == room || group.len > 4 || !text_parse_uint(group, 16, &value))
			return -1;
		to[n++] = (uint16_t)value;
		if (more && s.len == 0)
			return -1;
	}
	return n;
}

static bool find_gap(struct span s, size_t *at)
{
	for (size_t i = 0; i + 1 < s.len; i++)
		if (s.at[i] == ':' && s.at[i + 1] == ':') {
			*at = i;
			return true;
		}
	return false;
}

bool ip_parse_v6(struct span s, uint8_t address[16])
{
	uint16_t head[GROUPS] = {0}, tail[GROUPS];
	size_t gap;
	if (find_gap(s, &gap)) {
		struct span before = {s.at, gap}, after = {s.at + gap + 2, s.len - gap - 2};
		int first = parse_groups(before, false, head, GROUPS - 1);
		if (first < 0)
			return false;
		int last = parse_groups(after, true, tail, GROUPS - 1 - first);
		if (last < 0)
			return false;
		memcpy(head + GROUPS - last, tail, (size_t)last * sizeof *tail);
	} else if (parse_groups(s, true, head, GROUPS) != GROUPS) {
		return false;
	}
	for (int i = 0; i < GROUPS; i++) {
		address[2 * i] = (uint8_t)(head[i] >> 8);
		address[2 * i + 1] = (uint8_t)head[i];
	}
	return true;
}

void ip_print_v4(const uint8_t address[4], struct line *l)
{
	for (int i = 0; i < 4; i++) {
		if (i)
			line_bytes(l, ".", 1);
		line_dec(l, address[i]);
	}
}

static unsigned group_of(const uint8_t address[16], int i)
{
	return (unsigned)address[2 * i] << 8 | address[2 * i + 1];
}

/* Find the first of the longest runs of two or more zero groups. Returns its length (0: none); *start is its place. */
static int longest_zeros(const uint8_t address[16], int *start)
{
	int best = 0;
	for (int i = 0; i < GROUPS; i++) {
		int n = 0;
		while (i + n < GROUPS && group_of(address, i + n) == 0)
			n++;
		if (n > best) {
			best = n;
			*start = i;
		}
		i += n;
	}
	return best > 1 ? best : 0;
}

void ip_print_v6(const uint8_t address[16], struct line *l)
{
	int start = 0;
	int zeros = longest_zeros(address, &start);
	for (int i = 0; i < GROUPS; i++) {
		if (zeros && i == start) {
			line_str(l, "::");
			i += zeros - 1;
			continue;
		}
		if (i && !(zeros && i == start + zeros))
			line_bytes(l, ":", 1);
		line_hex(l, group_of(address, i));
	}
}
