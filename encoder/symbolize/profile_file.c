/* profile_file.c - saved profiles: from a file to messages in memory and back.
 *
 * Runs in: pprofshim-symbolize. The file may come from anybody, so its contents are checked.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/profile_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
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
static const char damaged[] = "its gzip data are damaged, or something else follows them";

/* --- bytes that grow ------------------------------------------------------------------------------- */

struct bytes {
	unsigned char *at;
	size_t len, cap;
};

/* Make room for more bytes at the end. Returns NULL, or why there is none. */
static const char *bytes_room(struct bytes *b)
{
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

static const char *unpack_gzip(const struct bytes *from, struct bytes *to)
{
	z_stream z = {.next_in = from->at, .avail_in = (unsigned)from->len};
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

static const char *unpack_profile(const struct bytes *b, Pprof__Profile **p)
{
	static const char no_profile[] = "it is neither an ELF file nor a profile in pprof's protobuf form";
	if (b->len == 0)
		return "it is empty; was the output meant for this file? It has to go to another one";
	*p = pprof__profile__unpack(NULL, b->len, b->at);
	if (!*p)
		return no_profile;
	/* Any short file may be a protobuf by chance. But every profile has a sample type and the first string "". */
	if ((*p)->n_sample_type == 0 || (*p)->n_string_table == 0 || *(*p)->string_table[0]) {
		pprof__profile__free_unpacked(*p, NULL);
		*p = NULL;
		return no_profile;
	}
	return NULL;
}

const char *profile_read(int fd, Pprof__Profile **p)
{
	struct bytes file = {0}, unpacked = {0};
	const char *wrong = read_all(fd, &file);
	bool gzipped = !wrong && is_gzip(file.at, file.len);
	*p = NULL;
	if (gzipped)
		wrong = unpack_gzip(&file, &unpacked);
	if (!wrong)
		wrong = unpack_profile(gzipped ? &unpacked : &file, p);
	free(file.at);
	free(unpacked.at);
	return wrong;
}

/* --- writing --------------------------------------------------------------------------------------- */

/* Takes protobuf-c's bytes through zlib to a file, so that there is no second copy of a large profile. */
struct packing {
	ProtobufCBuffer base; /* first member: protobuf-c passes back a pointer to it */
	z_stream z;
	int fd;
	const char *wrong;
	unsigned char out[CHUNK];
};

static void write_all(struct packing *k, size_t len)
{
	for (size_t done = 0; done < len && !k->wrong;) {
		ssize_t n = write(k->fd, k->out + done, len - done);
		if (n >= 0)
			done += (size_t)n;
		else if (errno != EINTR)
			k->wrong = strerror(errno);
	}
}

static void pack(struct packing *k, const uint8_t *data, size_t len, int flush)
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
	struct packing *k = (struct packing *)base;
	for (size_t n; len && !k->wrong; data += n, len -= n) {
		n = len < BYTES_MAX ? len : BYTES_MAX; /* zlib counts in 32 bits */
		pack(k, data, n, Z_NO_FLUSH);
	}
}

const char *profile_write(int fd, const Pprof__Profile *p)
{
	struct packing *k = calloc(1, sizeof *k);
	if (!k)
		return no_memory;
	k->base.append = append;
	k->fd = fd;
	const char *wrong = no_memory;
	if (deflateInit2(&k->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + GZIP, 8, Z_DEFAULT_STRATEGY) == Z_OK) {
		pprof__profile__pack_to_buffer(p, &k->base);
		pack(k, NULL, 0, Z_FINISH);
		deflateEnd(&k->z);
		wrong = k->wrong;
	}
	free(k);
	return wrong;
}
