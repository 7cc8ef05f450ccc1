/* profile_file.c - saved profiles: from a file to messages in memory and back.
 *
 * Runs in: pprofshim-symbolize. The file may come from anybody, so its contents are checked.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/saved/profile_file.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum {
	GZIP = 16, /* zlib: with the header and trailer of gzip, nothing else */
	CHUNK = 64 * 1024,
	BYTES_MAX = 1024 * 1024 * 1024, /* of an unpacked profile, which takes several times that in memory */
};

static const char no_memory[] = "there is not enough memory for it";
static const char too_large[] = "it is larger than its share of memory";
static const char damaged[] = "its gzip data are damaged, or something else follows them";

/* --- bytes that grow ------------------------------------------------------------------------------- */

struct bytes {
	unsigned char *at;
	size_t len, cap;
	size_t most; /* 0: BYTES_MAX */
};

/* Make room for more bytes at the end. Returns NULL, or why there is none. */
static const char *bytes_room(struct bytes *b)
{
	if (b->most && b->len > b->most)
		return too_large;
	if (b->len > BYTES_MAX)
		return "it is larger than a gibibyte";
	if (b->cap - b->len >= CHUNK)
		return NULL;
	size_t cap = b->cap ? 2 * b->cap : 4 * CHUNK;
	unsigned char *at = realloc(b->at, cap);
	if (!at)
		return no_memory;
	b->at = at, b->cap = cap;
	return NULL;
}

static const char *read_all(int fd, struct bytes *b)
{
	for (;;) {
		const char *wrong = bytes_room(b);
		if (wrong)
			return wrong;
		ssize_t n = read(fd, b->at + b->len, b->cap - b->len);
		if (n == 0)
			return NULL;
		if (n > 0)
			b->len += (size_t)n;
		else if (errno != EINTR)
			return strerror(errno);
	}
}

/* --- gzip ------------------------------------------------------------------------------------------ */

static bool is_gzip(const unsigned char *at, size_t len)
{
	return len >= 2 && at[0] == 0x1f && at[1] == 0x8b;
}

/* Unpack one gzip member from z->next_in on, to the end of `to`. */
static const char *unpack_member(z_stream *z, struct bytes *to)
{
	for (;;) {
		const char *wrong = bytes_room(to);
		if (wrong)
			return wrong;
		z->next_out = to->at + to->len;
		z->avail_out = CHUNK;
		int result = inflate(z, Z_NO_FLUSH);
		to->len += CHUNK - z->avail_out;
		if (result == Z_STREAM_END)
			return NULL;
		if (result == Z_BUF_ERROR || (result == Z_OK && z->avail_in == 0 && z->avail_out))
			return "it is cut off: the end of its gzip data is missing";
		if (result != Z_OK)
			return result == Z_MEM_ERROR ? no_memory : damaged;
	}
}

static const char *unpack_gzip(const void *from, size_t len, struct bytes *to)
{
	z_stream z = {.next_in = (unsigned char *)(uintptr_t)from, .avail_in = (unsigned)len}; /* zlib only reads */
	const char *wrong = NULL;
	if (inflateInit2(&z, MAX_WBITS + GZIP) != Z_OK)
		return no_memory;
	do {
		wrong = is_gzip(z.next_in, z.avail_in) ? unpack_member(&z, to) : damaged;
		inflateReset(&z);
	} while (!wrong && z.avail_in);
	inflateEnd(&z);
	return wrong;
}

/* --- reading --------------------------------------------------------------------------------------- */

/* Counts what protobuf-c takes for a profile, and refuses more than its share. */
struct allowance {
	ProtobufCAllocator base;
	size_t taken_bytes, most_bytes;
	bool refused;
};

static void *allowance_take(void *arg, size_t size)
{
	struct allowance *a = arg;
	void *p = size <= a->most_bytes - a->taken_bytes ? malloc(size) : NULL;
	a->taken_bytes += p ? size : 0;
	a->refused |= !p;
	return p;
}

static void allowance_free(void *arg, void *p)
{
	(void)arg;
	free(p);
}

static const char *unpack_messages(const unsigned char *at, size_t len, size_t most_bytes, Pprof__Profile **p)
{
	static const char no_profile[] = "it is neither an ELF file nor a profile in pprof's protobuf form";
	struct allowance a = {{allowance_take, allowance_free, &a}, 0, most_bytes ? most_bytes : SIZE_MAX, false};
	if (len == 0)
		return "it is empty; was the output meant for this file? It has to go to another one";
	*p = pprof__profile__unpack(&a.base, len, at);
	if (!*p)
		return !a.refused ? no_profile : most_bytes ? too_large : no_memory;
	/* Any short file may be a protobuf by chance. But every profile has a sample type and the first string "". */
	if ((*p)->n_sample_type == 0 || (*p)->n_string_table == 0 || *(*p)->string_table[0]) {
		pprof__profile__free_unpacked(*p, NULL);
		*p = NULL;
		return no_profile;
	}
	return NULL;
}

const char *profile_unpack(const void *bytes, size_t len, const struct profile_limits *limits, Pprof__Profile **p)
{
	struct bytes unpacked = {.most = limits->unpacked_bytes};
	const char *wrong = NULL;
	*p = NULL;
	if (is_gzip(bytes, len)) {
		wrong = unpack_gzip(bytes, len, &unpacked);
		bytes = unpacked.at;
		len = unpacked.len;
	}
	if (!wrong)
		wrong = unpack_messages(bytes, len, limits->message_bytes, p);
	free(unpacked.at);
	return wrong;
}

const char *profile_read(int fd, Pprof__Profile **p)
{
	struct bytes file = {0};
	const char *wrong = read_all(fd, &file);
	*p = NULL;
	if (!wrong)
		wrong = profile_unpack(file.at, file.len, &(struct profile_limits){0}, p);
	free(file.at);
	return wrong;
}

/* --- writing --------------------------------------------------------------------------------------- */

/* Takes protobuf-c's bytes through zlib to a file, so that there is no second copy of a large profile. */
struct profile_writer {
	ProtobufCBuffer base; /* first member: protobuf-c passes back a pointer to it */
	z_stream z;
	int fd;
	const char *wrong;
	unsigned char out[CHUNK];
};

static void write_all(struct profile_writer *k, size_t len)
{
	for (size_t done = 0; done < len && !k->wrong;) {
		ssize_t n = write(k->fd, k->out + done, len - done);
		if (n >= 0)
			done += (size_t)n;
		else if (errno == EAGAIN)
			poll(&(struct pollfd){.fd = k->fd, .events = POLLOUT}, 1, -1);
		else if (errno != EINTR)
			k->wrong = strerror(errno);
	}
}

static void pack(struct profile_writer *k, const uint8_t *data, size_t len, int flush)
{
	int result;
	k->z.next_in = (uint8_t *)(uintptr_t)data; /* zlib's type lacks const, but zlib only reads */
	k->z.avail_in = (unsigned)len;
	do {
		k->z.next_out = k->out;
		k->z.avail_out = CHUNK;
		result = deflate(&k->z, flush);
		write_all(k, CHUNK - k->z.avail_out);
	} while (!k->wrong && k->z.avail_out == 0 && result != Z_STREAM_END);
}

static void append(ProtobufCBuffer *base, size_t len, const uint8_t *data)
{
	struct profile_writer *k = (struct profile_writer *)base;
	for (size_t n; len && !k->wrong; data += n, len -= n) {
		n = len < BYTES_MAX ? len : BYTES_MAX; /* zlib counts in 32 bits */
		pack(k, data, n, Z_NO_FLUSH);
	}
}

struct profile_writer *profile_writer_new(int fd)
{
	struct profile_writer *k = calloc(1, sizeof *k);
	if (!k)
		return NULL;
	k->base.append = append;
	k->fd = fd;
	if (deflateInit2(&k->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + GZIP, 8, Z_DEFAULT_STRATEGY) == Z_OK)
		return k;
	free(k);
	return NULL;
}

void profile_writer_part(struct profile_writer *k, const Pprof__Profile *p)
{
	if (!k->wrong)
		pprof__profile__pack_to_buffer(p, &k->base);
}

const char *profile_writer_end(struct profile_writer *k)
{
	pack(k, NULL, 0, Z_FINISH);
	deflateEnd(&k->z);
	const char *wrong = k->wrong;
	free(k);
	return wrong;
}

const char *profile_write(int fd, const Pprof__Profile *p)
{
	struct profile_writer *k = profile_writer_new(fd);
	if (!k)
		return no_memory;
	profile_writer_part(k, p);
	return profile_writer_end(k);
}
