/* descriptors.c - what the program's descriptors are.
 *
 * Runs in: listener. System calls alone. Tables of sockets may be long: between two pieces of one others have their
 * turn.
 *
 * Formats: proc(5): fd/N (a link), fdinfo/N ("tfd:" lines of epoll), net/{tcp,udp}{,6}, net/unix. What unix sockets are
 * connected to: unix_peers.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/threads/descriptors.h"

#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/proc.h"
#include "shim/base/pace.h"
#include "shim/base/powers.h"
#include "shim/base/text.h"
#include "shim/threads/unix_peers.h"

enum { PIECE = 16 * 1024, LISTENS = 0x0a, ACCEPTS = 0x10000, BUCKETS = 2048, TARGETS_MOST = 5, NAME_MOST = 1024 };

struct namer {
	struct region *region;
	char *piece;                 /* of a file, or of a link */
	const char *protocol;        /* of the table that is being read */
	struct descriptor **buckets; /* of sockets, by inode */
	int diag;                    /* asks for peers of unix sockets; negative: not to be had */
	bool has_sockets;
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

struct targets {
	struct descriptor *at;
	uint32_t count, total;
};

/* "tfd:        5 events:       19 data: …" */
static void take_target(void *arg, struct span line)
{
	struct targets *t = arg;
	uint64_t fd;
	if (!span_starts(line, "tfd:"))
		return;
	span_cut(&line, ':');
	line = span_trim(line);
	t->total++;
	if (t->at && t->count < TARGETS_MOST && text_parse_uint(span_cut(&line, ' '), 10, &fd))
		t->at[t->count++] = (struct descriptor){.fd = (int)fd};
}

static void find_targets(struct namer *d, struct descriptor *one)
{
	char path[64];
	struct line p = LINE(path);
	struct targets t = {.at = region_alloc(d->region, TARGETS_MOST * sizeof *t.at)};
	put_path(&p, "fdinfo/", one->fd);
	bool were = powers_use(true);
	int info = (int)os_open(path, O_RDONLY);
	powers_use(were);
	one->name = "epoll";
	if (info < 0)
		return;
	read_lines(d, info, take_target, &t);
	one->targets = t.at;
	one->target_count = t.count;
	one->target_total = t.total;
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

static void remember_socket(struct namer *d, struct descriptor *one)
{
	struct descriptor **bucket = &d->buckets[one->inode % BUCKETS];
	one->same_bucket = *bucket;
	*bucket = one;
	d->has_sockets = true;
}

/* "anon_inode:[eventfd]", "anon_inode:inotify": what the kernel made without a name is known by its kind. */
static struct span kind_of(struct span link)
{
	if (!span_starts(link, "anon_inode:"))
		return link;
	span_cut(&link, ':');
	if (link.len > 2 && link.at[0] == '[' && link.at[link.len - 1] == ']')
		return (struct span){link.at + 1, link.len - 2};
	return link;
}

/* Returns whether it is an epoll. */
static bool name_by_link(struct namer *d, struct descriptor *one)
{
	long n = one->fd < 0 ? 0 : read_link(one->fd, d->piece, PIECE - 1);
	if (n <= 0)
		return false;
	struct span link = kind_of((struct span){d->piece, (size_t)n});
	one->inode = inode_of(link);
	if (one->inode)
		remember_socket(d, one);
	struct line l = {d->piece, PIECE, 0};
	memmove(d->piece, link.at, link.len);
	d->piece[l.len = link.len] = '\0';
	one->name = keep(d, &l);
	return span_is(link, "eventpoll");
}

static void name_with_targets(struct namer *d, struct descriptor *one)
{
	if (name_by_link(d, one))
		find_targets(d, one);
	for (uint32_t i = 0; i < one->target_count && !pace(); i++)
		if (name_by_link(d, &one->targets[i]))
			one->targets[i].name = "epoll";
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
	for (struct descriptor *one = d->buckets[inode % BUCKETS]; one; one = one->same_bucket)
		if (one->inode == inode && (name || (name = keep(d, l))))
			one->name = name;
}

static bool is_wanted(const struct namer *d, uint64_t inode)
{
	const struct descriptor *one = inode ? d->buckets[inode % BUCKETS] : NULL;
	while (one && one->inode != inode)
		one = one->same_bucket;
	return one;
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
	if (!text_parse_uint(next_field(&line), 10, &inode) || !is_wanted(d, inode) || !text_parse_uint(st, 16, &state))
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

/* An unnamed peer is told as in /proc/<pid>/fd, by which its process can be found. */
static void put_peer(struct line *l, int diag, uint32_t inode)
{
	struct unix_socket own, peer;
	pace(); /* the kernel looks through all sockets */
	if (diag < 0 || !unix_peers_ask(diag, inode, &own) || !own.peer)
		return;
	line_str(l, ", peer ");
	if (unix_peers_ask(diag, own.peer, &peer) && peer.path[0]) {
		line_str(l, peer.path);
		return;
	}
	line_str(l, "socket:[");
	line_dec(l, own.peer);
	line_str(l, "]");
}

/* Num: RefCount Protocol Flags Type St Inode Path */
static void take_unix(void *arg, struct span line)
{
	struct namer *d = arg;
	char text[320];
	struct line l = LINE(text);
	uint64_t inode, flags;
	for (int i = 0; i < 3; i++)
		next_field(&line);
	if (!text_parse_uint(next_field(&line), 16, &flags))
		return;
	for (int i = 0; i < 2; i++)
		next_field(&line);
	if (!text_parse_uint(next_field(&line), 10, &inode) || !is_wanted(d, inode))
		return;
	struct span path = span_trim(line);
	line_str(&l, path.len ? "unix " : "unix socket");
	line_bytes(&l, path.at, path.len);
	if (flags & ACCEPTS)
		line_str(&l, ", listening");
	else
		put_peer(&l, d->diag, (uint32_t)inode);
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
	d->diag = unix_peers_open();
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		char path[64];
		struct line p = LINE(path);
		put_path(&p, tables[i].file, -1);
		d->protocol = tables[i].protocol;
		read_lines(d, (int)os_open(path, O_RDONLY), tables[i].take, d);
	}
	if (d->diag >= 0)
		os_close(d->diag);
}

/* ---- several at once ---- */

static void put_targets(struct line *l, const struct descriptor *one)
{
	for (uint32_t i = 0; i < one->target_count; i++) {
		line_str(l, i ? "; " : "");
		line_dec(l, one->targets[i].fd);
		if (!one->targets[i].name)
			continue;
		line_str(l, ": ");
		line_str(l, one->targets[i].name);
	}
	if (one->target_total > one->target_count)
		line_str(l, "; …");
}

/* A line that is full ends early. */
static void tell_targets(struct namer *d, struct descriptor *one)
{
	struct line l = {d->piece, NAME_MOST, 0};
	bool is_epoll = one->fd >= 0;
	if (is_epoll) {
		line_str(&l, "epoll of ");
		line_dec(&l, one->target_total);
		line_str(&l, one->target_total == 1 ? " descriptor" : " descriptors");
		line_str(&l, one->target_count ? " (" : "");
	}
	put_targets(&l, one);
	line_str(&l, is_epoll && one->target_count ? ")" : "");
	one->name = keep(d, &l);
}

void descriptors_name(struct region *r, struct descriptor *at, size_t count)
{
	struct namer d = {.region = r};
	d.piece = count ? region_alloc(r, PIECE) : NULL;
	d.buckets = count ? region_alloc(r, BUCKETS * sizeof *d.buckets) : NULL;
	if (!d.piece || !d.buckets)
		return;
	for (size_t i = 0; i < count && !pace(); i++)
		name_with_targets(&d, &at[i]);
	if (d.has_sockets)
		name_sockets(&d);
	for (size_t i = 0; i < count && !pace(); i++)
		if (at[i].targets)
			tell_targets(&d, &at[i]);
}
