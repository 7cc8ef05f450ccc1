/* descriptors.c - what the program's descriptors are.
 *
 * Runs in: listener. System calls alone. Tables of sockets may be long: between two pieces of one others have their
 * turn.
 *
 * Formats: proc(5): fd/N (a link), fdinfo/N ("tfd:" lines of epoll), net/{tcp,udp}{,6}, net/unix.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/threads/descriptors.h"

#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/proc.h"
#include "shim/base/pace.h"
#include "shim/base/powers.h"
#include "shim/base/text.h"

enum { PIECE = 16 * 1024, LISTENS = 0x0a, FILTER_BITS = 4096 };

struct namer {
	struct region *region;
	char *piece; /* of a file, or of a link */
	struct descriptor *at;
	size_t count;
	const char *protocol;              /* of the table that is being read */
	uint64_t filter[FILTER_BITS / 64]; /* a bit for each inode that is looked for */
};

/* "/proc/<pid>/<folder>" and a number, if it is not negative. */
static void put_path(struct line *l, const char *folder, int number)
{
	proc_put_program(l, "/");
	line_str(l, folder);
	if (number >= 0)
		line_dec(l, number);
}

static const char *keep(struct namer *d, const struct line *l)
{
	char *copy = region_alloc(d->region, l->len + 1);
	return copy ? memcpy(copy, l->at, l->len + 1) : NULL;
}

/* Call `each` with every whole line of a file, and close that. */
static void read_lines(const struct namer *d, int fd, void (*each)(void *arg, struct span line), void *arg)
{
	size_t len = 0;
	for (long n; fd >= 0 && (n = os_read(fd, d->piece + len, PIECE - len)) > 0 && !pace();) {
		struct span rest = {d->piece, len + (size_t)n};
		while (rest.len && memchr(rest.at, '\n', rest.len))
			each(arg, span_cut(&rest, '\n'));
		len = rest.len < PIECE ? rest.len : 0; /* a line that fills it all is no line of ours */
		memmove(d->piece, rest.at, len);
	}
	if (fd >= 0)
		os_close(fd);
}

/* ---- files and epoll ---- */

static void count_target(void *arg, struct span line)
{
	*(size_t *)arg += span_starts(line, "tfd:");
}

static const char *name_epoll(struct namer *d, int fd)
{
	char path[64], text[64];
	struct line p = LINE(path), l = LINE(text);
	size_t targets = 0;
	put_path(&p, "fdinfo/", fd);
	bool were = powers_use(true);
	int info = (int)os_open(path, O_RDONLY);
	powers_use(were);
	read_lines(d, info, count_target, &targets);
	if (info < 0)
		return "epoll";
	line_str(&l, "epoll of ");
	line_dec(&l, (int64_t)targets);
	line_str(&l, targets == 1 ? " descriptor" : " descriptors");
	return keep(d, &l);
}

/* The kernel shows the links to whoever may trace the program. */
static long read_link(int fd, char *to, size_t cap)
{
	char path[64];
	struct line p = LINE(path);
	put_path(&p, "fd/", fd);
	bool were = powers_use(true);
	long n = os_call(SYS_readlinkat, AT_FDCWD, path, to, cap);
	powers_use(were);
	return n;
}

/* "socket:[1234]" */
static uint64_t inode_of(struct span link)
{
	uint64_t inode = 0;
	if (!span_starts(link, "socket:["))
		return 0;
	span_cut(&link, '[');
	text_parse_uint(span_cut(&link, ']'), 10, &inode);
	return inode;
}

static void name_by_link(struct namer *d, struct descriptor *one)
{
	long n = read_link(one->fd, d->piece, PIECE - 1);
	if (n <= 0)
		return;
	d->piece[n] = '\0';
	struct span link = {d->piece, (size_t)n};
	one->inode = inode_of(link);
	d->filter[one->inode % FILTER_BITS / 64] |= (uint64_t)1 << one->inode % 64;
	one->name = span_is(link, "anon_inode:[eventpoll]") ? name_epoll(d, one->fd)
	                                                    : keep(d, &(struct line){d->piece, PIECE, (size_t)n});
}

/* ---- sockets ---- */

static struct span next_field(struct span *rest)
{
	while (rest->len && rest->at[0] == ' ')
		rest->at++, rest->len--;
	return span_cut(rest, ' ');
}

static void name_socket(struct namer *d, uint64_t inode, const struct line *l)
{
	const char *name = NULL;
	for (size_t i = 0; i < d->count; i++)
		if (d->at[i].inode == inode && (name || (name = keep(d, l))))
			d->at[i].name = name;
}

static bool may_be_wanted(const struct namer *d, uint64_t inode)
{
	return inode && d->filter[inode % FILTER_BITS / 64] >> inode % 64 & 1;
}

static void put_v4(struct line *l, const uint8_t *at)
{
	for (int i = 0; i < 4; i++) {
		line_str(l, i ? "." : "");
		line_dec(l, at[i]);
	}
}

/* Finds the first of the longest runs of groups that are 0: RFC 5952. Returns its length. */
static int find_zeros(const uint8_t *at, int *first)
{
	int most = 1;
	*first = -1;
	for (int i = 0, n = 0; i < 8; i++) {
		n = at[2 * i] || at[2 * i + 1] ? 0 : n + 1;
		if (n > most) {
			most = n;
			*first = i - n + 1;
		}
	}
	return *first < 0 ? 0 : most;
}

static void put_v6(struct line *l, const uint8_t *at)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	int first, zeros = find_zeros(at, &first);
	if (memcmp(at, mapped, sizeof mapped) == 0) {
		put_v4(l, at + 12);
		return;
	}
	line_str(l, "[");
	for (int i = 0; i < 8; i++) {
		if (zeros && i == first) {
			line_str(l, "::");
			i += zeros - 1;
			continue;
		}
		if (i && i != first + zeros)
			line_str(l, ":");
		line_hex(l, (uint64_t)(at[2 * i] << 8 | at[2 * i + 1]));
	}
	line_str(l, "]");
}

/* "0100007F:1F90": words of the machine's order, the port in hexadecimal. False: it is no address. */
static bool put_address(struct line *l, struct span text, bool *is_any)
{
	uint8_t bytes[16] = {0};
	uint64_t port, word;
	struct span host = span_cut(&text, ':');
	size_t words = host.len / 8;
	if (!text_parse_uint(text, 16, &port) || host.len % 8 || words > 4)
		return false;
	for (size_t i = 0; i < words; i++) {
		if (!text_parse_uint((struct span){host.at + 8 * i, 8}, 16, &word))
			return false;
		uint32_t whole = (uint32_t)word;
		memcpy(bytes + 4 * i, &whole, sizeof whole);
	}
	if (words == 1)
		put_v4(l, bytes);
	else
		put_v6(l, bytes);
	line_str(l, ":");
	line_dec(l, (int64_t)port);
	*is_any = !port;
	return true;
}

/* sl local remote state queues timer retransmits uid timeout inode … */
static void take_internet(void *arg, struct span line)
{
	struct namer *d = arg;
	char text[160], peer_text[64];
	struct line l = LINE(text), peer = LINE(peer_text);
	uint64_t state, inode;
	bool is_any;
	next_field(&line);
	struct span local = next_field(&line), remote = next_field(&line), st = next_field(&line);
	for (int i = 0; i < 5; i++)
		next_field(&line);
	if (!text_parse_uint(next_field(&line), 10, &inode) || !may_be_wanted(d, inode) ||
	    !text_parse_uint(st, 16, &state))
		return;
	line_str(&l, d->protocol);
	line_str(&l, " ");
	if (!put_address(&l, local, &is_any) || !put_address(&peer, remote, &is_any))
		return;
	if (!is_any) {
		line_str(&l, ", peer ");
		line_bytes(&l, peer.at, peer.len);
	} else if (state == LISTENS) {
		line_str(&l, ", listening");
	}
	name_socket(d, inode, &l);
}

/* Num: RefCount Protocol Flags Type St Inode Path */
static void take_unix(void *arg, struct span line)
{
	struct namer *d = arg;
	char text[160];
	struct line l = LINE(text);
	uint64_t inode;
	for (int i = 0; i < 6; i++)
		next_field(&line);
	if (!text_parse_uint(next_field(&line), 10, &inode) || !may_be_wanted(d, inode))
		return;
	struct span path = span_trim(line);
	line_str(&l, path.len ? "unix " : "unix socket");
	line_bytes(&l, path.at, path.len);
	name_socket(d, inode, &l);
}

static void name_sockets(struct namer *d)
{
	static const struct {
		const char *file, *protocol;
		void (*take)(void *arg, struct span line);
	} tables[] = {
		{"net/tcp", "tcp", take_internet}, {"net/tcp6", "tcp", take_internet}, {"net/unix", "unix", take_unix},
		{"net/udp", "udp", take_internet}, {"net/udp6", "udp", take_internet},
	};
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		char path[64];
		struct line p = LINE(path);
		put_path(&p, tables[i].file, -1);
		d->protocol = tables[i].protocol;
		read_lines(d, (int)os_open(path, O_RDONLY), tables[i].take, d);
	}
}

void descriptors_name(struct region *r, struct descriptor *at, size_t count)
{
	struct namer d = {.region = r, .piece = count ? region_alloc(r, PIECE) : NULL, .at = at, .count = count};
	bool has_sockets = false;
	for (size_t i = 0; d.piece && i < count && !pace(); i++) {
		name_by_link(&d, &at[i]);
		has_sockets |= at[i].inode != 0;
	}
	if (has_sockets)
		name_sockets(&d);
}
