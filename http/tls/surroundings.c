/* surroundings.c - what mbedTLS asks of its surroundings: memory, randomness, time, text, and limits for strangers.
 *
 * Runs in: listener. System calls alone; memory of a mapping of its own, by mbedTLS's buffer allocator.
 *
 * Certificates of clients come from strangers. Each signature takes milliseconds, so their number has a limit; an RSA
 * key's exponent, too, or one signature would take a second.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/tls/surroundings.h"

#include "tls_built.h"

#if TLS_IS_BUILT
#include <mbedtls/memory_buffer_alloc.h>
#include <mbedtls/pk.h>
#include <mbedtls/platform_time.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/rsa.h>
#include <psa/crypto.h>
#include <stdarg.h>

#include "shim/base/arena.h"
#include "shim/base/date.h"
#include "shim/base/exports.h"
#include "shim/base/os.h"
#include "shim/base/text.h"

enum {
	MEMORY_BYTES = 6 << 20, /* 64 clients and some certificates; only pages in use cost memory */
	PAGE = 4096,
	WIPE_ON_FORK = 18,   /* of madvise; an older libc has no name for it */
	GRND_NOW = 1,        /* of getrandom: never wait for the kernel's first entropy */
	SIGNATURES_MOST = 6, /* of a client's chain: four intermediates, its own, one for a namesake */
	EXPONENT_BITS_MOST = 33,
};

/* The linker's: where mbedTLS keeps its variables (scripts/build-mbedtls.sh). */
extern HIDDEN char __start_tls_state[], __stop_tls_state[];

static char *memory; /* NULL: none is mapped */
static unsigned signatures_left;

/* ---- memory ---- */

void surroundings_end(void)
{
	if (!memory)
		return;
	memset(__start_tls_state, 0, (size_t)(__stop_tls_state - __start_tls_state));
	os_unmap(memory, MEMORY_BYTES);
	arena_uncharge_request(MEMORY_BYTES);
	memory = NULL;
}

/* Keys lie there: neither a child of fork nor a core file gets them. */
static bool map_memory(void)
{
	if (arena_charge_request(MEMORY_BYTES) < 0)
		return false;
	char *p = os_map(MEMORY_BYTES);
	if (os_failed(p)) {
		arena_uncharge_request(MEMORY_BYTES);
		return false;
	}
	os_call(SYS_madvise, p, MEMORY_BYTES, WIPE_ON_FORK);
	os_call(SYS_madvise, p, MEMORY_BYTES, MADV_DONTDUMP);
	memory = p;
	return true;
}

bool surroundings_start(void)
{
	unsigned char probe[8];
	surroundings_end();
	if (surroundings_random(NULL, probe, sizeof probe) < 0 || !map_memory())
		return false;
	mbedtls_memory_buffer_alloc_init((unsigned char *)memory, MEMORY_BYTES);
	/* It has written zeros to all pages, and needs what lies in the first. */
	os_call(SYS_madvise, memory + PAGE, MEMORY_BYTES - PAGE, MADV_DONTNEED);
	if (psa_crypto_init() == PSA_SUCCESS)
		return true;
	surroundings_end();
	return false;
}

/* ---- randomness ---- */

int surroundings_random(void *unused, unsigned char *to, size_t n)
{
	(void)unused;
	while (n) {
		long r = os_call(SYS_getrandom, to, n, GRND_NOW);
		if (r <= 0 && r != -EINTR)
			return (int)PSA_ERROR_INSUFFICIENT_ENTROPY;
		if (r > 0) {
			to += r;
			n -= (size_t)r;
		}
	}
	return 0;
}

psa_status_t mbedtls_psa_external_get_random(mbedtls_psa_external_random_context_t *context, uint8_t *to, size_t n,
                                             size_t *given)
{
	(void)context;
	*given = n;
	return surroundings_random(NULL, to, n);
}

/* ---- time ---- */

HIDDEN long tls_time(long *at)
{
	long now = (long)(os_clock_ns(CLOCK_REALTIME) / 1000000000);
	if (at)
		*at = now;
	return now;
}

mbedtls_ms_time_t mbedtls_ms_time(void)
{
	return (mbedtls_ms_time_t)(os_clock_ns(CLOCK_MONOTONIC) / 1000000);
}

struct tm *mbedtls_platform_gmtime_r(const mbedtls_time_t *at, struct tm *to)
{
	uint64_t s = *at > 0 ? (uint64_t)*at : 0;
	struct date d = date_of(s / 86400);
	*to = (struct tm){
		.tm_year = (int)d.year - 1900,
		.tm_mon = (int)d.month - 1,
		.tm_mday = (int)d.day,
		.tm_hour = (int)(s / 3600 % 24),
		.tm_min = (int)(s / 60 % 60),
		.tm_sec = (int)(s % 60),
	};
	return to;
}

/* ---- text ---- */

HIDDEN char *tls_strchr(const char *s, int c)
{
	for (; *s != (char)c; s++)
		if (!*s)
			return NULL;
	return (char *)s;
}

HIDDEN char *tls_strstr(const char *s, const char *what)
{
	return (char *)span_find(span_of(s), span_of(what));
}

HIDDEN int tls_strncmp(const char *a, const char *b, size_t n)
{
	for (; n && *a && *a == *b; n--)
		a++, b++;
	return n ? (unsigned char)*a - (unsigned char)*b : 0;
}

/* Only functions that make texts for people print; they are not called. */
HIDDEN int tls_snprintf(char *to, size_t room, const char *format, ...)
{
	(void)format;
	if (room)
		*to = '\0';
	return -1;
}

HIDDEN void tls_exit(int status)
{
	(void)status;
	__builtin_trap();
}

void mbedtls_platform_zeroize(void *at, size_t n)
{
	memset(at, 0, n);
	__asm__ volatile("" ::"r"(at) : "memory"); /* it is read afterwards, as far as the compiler knows */
}

/* ---- limits for certificates of clients; x509_crt.c is compiled to call these ---- */

void surroundings_allow_signatures(void)
{
	signatures_left = SIGNATURES_MOST;
}

HIDDEN int tls_verify(mbedtls_pk_type_t type, const void *options, mbedtls_pk_context *key, mbedtls_md_type_t hash_type,
                      const unsigned char *hash, size_t hash_len, const unsigned char *signature, size_t signature_len);

int tls_verify(mbedtls_pk_type_t type, const void *options, mbedtls_pk_context *key, mbedtls_md_type_t hash_type,
               const unsigned char *hash, size_t hash_len, const unsigned char *signature, size_t signature_len)
{
	if (!signatures_left)
		return MBEDTLS_ERR_PK_INVALID_ALG;
	signatures_left--;
	return mbedtls_pk_verify_ext(type, options, key, hash_type, hash, hash_len, signature, signature_len);
}

static bool has_large_exponent(const mbedtls_rsa_context *rsa)
{
	mbedtls_mpi exponent;
	mbedtls_mpi_init(&exponent);
	bool large = mbedtls_rsa_export(rsa, NULL, NULL, NULL, NULL, &exponent) != 0 ||
	             mbedtls_mpi_bitlen(&exponent) > EXPONENT_BITS_MOST;
	mbedtls_mpi_free(&exponent);
	return large;
}

HIDDEN int tls_parse_public_key(unsigned char **at, const unsigned char *end, mbedtls_pk_context *key);

int tls_parse_public_key(unsigned char **at, const unsigned char *end, mbedtls_pk_context *key)
{
	int r = mbedtls_pk_parse_subpubkey(at, end, key);
	if (r == 0 && mbedtls_pk_get_type(key) == MBEDTLS_PK_RSA && has_large_exponent(mbedtls_pk_rsa(*key)))
		return MBEDTLS_ERR_PK_INVALID_PUBKEY;
	return r;
}
#endif
