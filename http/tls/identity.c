/* identity.c - the certificate, the key and the authorities: read, read again when they have changed.
 *
 * Runs in: listener. System calls alone; waits for the file system only.
 *
 * Files that belong together may change while they are read. So what does not fit is read again if a file has changed
 * meanwhile. A session keeps the identity that it began with.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tls_built.h"

#if TLS_IS_BUILT
#include "http/tls/identity.h"

#include <mbedtls/platform.h>

#include "http/tls/surroundings.h"
#include "shim/base/arena.h"
#include "shim/base/kept_file.h"
#include "shim/base/log.h"
#include "shim/base/os.h"
#include "shim/base/text.h"

enum {
	CERTIFICATE,
	KEY,
	CLIENT_CA,
	FILES,

	FILE_MOST = 1 << 20, /* bytes; all of a distribution's authorities are a quarter of it */
	TRIES = 3,
};

#define KEYS_KNOWN "RSA of up to 4096 bits, P-256 or P-384"

struct file {
	const char *variable;
	mode_t forbidden; /* what others may not do with it */
	const char *forbidden_text;
	const char *path;
	struct stat seen; /* of the file that was read last */
};

static struct {
	struct file files[FILES];
	struct identity *present; /* NULL: there is none */
	bool is_read;             /* the files were, as they are now */
	const char *trouble;      /* what was said last; NULL: nothing since all was well */
} kept;

static bool is_set(const struct file *f)
{
	return f->path && f->path[0];
}

void identity_start(const struct tls_options *options)
{
#define WRITABLE "can be written by all users; chmod o-w"
	kept.files[CERTIFICATE] = (struct file){"PPROF_TLS_CERT", S_IWOTH, WRITABLE, .path = options->certificate};
	kept.files[KEY] = (struct file){"PPROF_TLS_KEY", S_IROTH | S_IWOTH,
	                                "can be read or written by all users; chmod o-rw (in a Kubernetes Secret: "
	                                "defaultMode: 0440)",
	                                .path = options->key};
	kept.files[CLIENT_CA] = (struct file){"PPROF_TLS_CLIENT_CA", S_IWOTH, WRITABLE, .path = options->client_ca};
	kept.present = NULL;
	kept.is_read = false;
	kept.trouble = NULL;
}

/* Returns NULL, as nobody has an identity then. */
static struct identity *complain(const struct file *f, const char *trouble)
{
	char text[512];
	struct line l = LINE(text);
	if (kept.trouble == trouble)
		return NULL;
	kept.trouble = trouble;
	line_str(&l, f->variable);
	line_str(&l, is_set(f) ? "=" : " ");
	line_str(&l, is_set(f) ? f->path : "");
	line_str(&l, is_set(f) ? " " : "");
	line_str(&l, trouble);
	line_str(&l, "; the endpoint stays shut");
	log_warn(l.at);
	return NULL;
}

/* ---- reading ---- */

static const char *why_not_opened(int error)
{
	return error == -ENOENT    ? "does not exist"
	       : error == -EACCES  ? "can't be opened: permission denied"
	       : error == -ENOTDIR ? "does not exist: a part of its path is no folder"
	                           : "can't be opened";
}

/* Read all of it, with a NUL behind. Returns what is wrong with it; NULL: nothing. */
static const char *read_all(int fd, struct region *r, struct span *text)
{
	char *to = region_alloc(r, FILE_MOST + 1);
	size_t n = 0;
	if (!to)
		return "can't be read: no memory is left; raise PPROF_MEMORY_LIMIT";
	for (long got = 1; got > 0 && n <= FILE_MOST; n += got > 0 ? (size_t)got : 0) {
		got = os_read(fd, to + n, FILE_MOST + 1 - n);
		if (got < 0)
			return "can't be read";
	}
	if (n > FILE_MOST)
		return "holds more than a mebibyte";
	to[n] = '\0';
	*text = (struct span){to, n};
	return NULL;
}

static const char *read_file(struct file *f, struct region *r, struct span *text)
{
	int fd = kept_file_open(f->path, &f->seen);
	if (fd < 0) {
		f->seen = (struct stat){0};
		return why_not_opened(fd);
	}
	const char *trouble = !S_ISREG(f->seen.st_mode)               ? "is no regular file"
	                      : (f->seen.st_mode & f->forbidden) != 0 ? f->forbidden_text
	                                                              : read_all(fd, r, text);
	os_close(fd);
	return trouble;
}

/* (mbedTLS counts the NUL as a part of a text.) */
static int parse_certificates(mbedtls_x509_crt *to, struct span text)
{
	return mbedtls_x509_crt_parse(to, (const unsigned char *)text.at, text.len + 1);
}

static const char *read_certificate(struct identity *i, struct span text)
{
	if (!span_find(text, SPAN("-----BEGIN CERTIFICATE-----")))
		return "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)";
	if (parse_certificates(&i->chain, text) != 0)
		return "holds a certificate that can't be read; its key must be " KEYS_KNOWN;
	return NULL;
}

static const char *read_key(struct identity *i, struct span text)
{
	if (!span_find(text, SPAN("PRIVATE KEY-----")))
		return "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)";
	if (span_find(text, SPAN("ENCRYPTED")))
		return "holds an encrypted key; decrypt it (openssl pkey)";
	if (mbedtls_pk_parse_key(&i->key, (const unsigned char *)text.at, text.len + 1, NULL, 0, surroundings_random,
	                         NULL) != 0)
		return "holds a private key that can't be read; it must be " KEYS_KNOWN;
	if (mbedtls_pk_check_pair(&i->chain.pk, &i->key, surroundings_random, NULL) != 0)
		return "does not match the first certificate of PPROF_TLS_CERT";
	return NULL;
}

/* A bundle may have certificates of old kinds among others. */
static const char *read_authorities(struct identity *i, struct span text)
{
	if (!span_find(text, SPAN("-----BEGIN CERTIFICATE-----")))
		return "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)";
	if (parse_certificates(&i->authorities, text) < 0)
		return "holds no certificate that can be read; their keys must be " KEYS_KNOWN;
	return NULL;
}

/* Returns the file that is no good, and why; NULL: all are good. */
static const struct file *read_files(struct identity *i, const char **trouble)
{
	static const char *(*const readers[FILES])(struct identity *, struct span) = {
		[CERTIFICATE] = read_certificate, [KEY] = read_key, [CLIENT_CA] = read_authorities};
	for (size_t n = 0; n < FILES; n++) {
		struct region r = {0};
		struct span text = {0};
		struct file *f = &kept.files[n];
		if (!is_set(f) && n == CLIENT_CA)
			continue;
		*trouble = is_set(f) ? read_file(f, &r, &text) : "is not set, but another file for TLS is";
		if (!*trouble)
			*trouble = readers[n](i, text);
		if (text.at)
			memset((char *)text.at, 0, text.len);
		region_release(&r);
		if (*trouble)
			return f;
	}
	return NULL;
}

/* ---- an identity ---- */

static bool configure(struct identity *i)
{
	static const char *protocols[] = {"http/1.1", NULL};
	mbedtls_ssl_config *c = &i->config;
	if (mbedtls_ssl_config_defaults(c, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM,
	                                MBEDTLS_SSL_PRESET_DEFAULT) != 0 ||
	    mbedtls_ssl_conf_own_cert(c, &i->chain, &i->key) != 0 || mbedtls_ssl_conf_alpn_protocols(c, protocols) != 0)
		return false;
	mbedtls_ssl_conf_rng(c, surroundings_random, NULL);
	mbedtls_ssl_conf_min_tls_version(c, MBEDTLS_SSL_VERSION_TLS1_2);
	if (is_set(&kept.files[CLIENT_CA])) {
		mbedtls_ssl_conf_ca_chain(c, &i->authorities, NULL);
		mbedtls_ssl_conf_authmode(c, MBEDTLS_SSL_VERIFY_REQUIRED);
		mbedtls_ssl_conf_cert_req_ca_list(c, MBEDTLS_SSL_CERT_REQ_CA_LIST_DISABLED); /* it may be long */
	}
	return true;
}

static struct identity *make(void)
{
	struct identity *i = mbedtls_calloc(1, sizeof *i);
	if (!i)
		return NULL;
	mbedtls_ssl_config_init(&i->config);
	mbedtls_x509_crt_init(&i->chain);
	mbedtls_x509_crt_init(&i->authorities);
	mbedtls_pk_init(&i->key);
	i->users = 1;
	return i;
}

void identity_give_back(struct identity *i)
{
	if (!i || --i->users)
		return;
	mbedtls_ssl_config_free(&i->config);
	mbedtls_x509_crt_free(&i->chain);
	mbedtls_x509_crt_free(&i->authorities);
	mbedtls_pk_free(&i->key);
	mbedtls_free(i);
}

/* ---- looking ---- */

/* A file that the program has no right to open any more counts as it was. */
static bool has_changed(const struct file *f)
{
	struct stat now;
	int fd = is_set(f) ? kept_file_open(f->path, &now) : -ENOENT;
	if (fd < 0)
		return !(kept_file_is_denied(fd) && kept.present) && f->seen.st_ino != 0;
	os_close(fd);
	return !kept_file_is_same(&now, &f->seen);
}

static bool have_changed(void)
{
	for (size_t n = 0; n < FILES; n++)
		if (has_changed(&kept.files[n]))
			return true;
	return false;
}

static struct identity *read_identity(void)
{
	const char *trouble = NULL;
	const struct file *bad = &kept.files[CERTIFICATE];
	for (unsigned tries = 0; tries < TRIES; tries++) {
		struct identity *i = make();
		bad = i ? read_files(i, &trouble) : bad;
		if (i && !bad && configure(i))
			return i;
		identity_give_back(i);
		if (!have_changed())
			break;
	}
	return bad && trouble ? complain(bad, trouble) : complain(&kept.files[CERTIFICATE], "can't be used: no memory");
}

static bool is_in_time(const struct identity *i)
{
	if (mbedtls_x509_time_is_past(&i->chain.valid_to))
		complain(&kept.files[CERTIFICATE], "has expired");
	else if (mbedtls_x509_time_is_future(&i->chain.valid_from))
		complain(&kept.files[CERTIFICATE], "is not valid yet");
	else
		return true;
	return false;
}

struct identity *identity_take(void)
{
	if (!kept.is_read || have_changed()) {
		identity_give_back(kept.present);
		kept.is_read = true;
		kept.present = read_identity();
	}
	if (!kept.present || !is_in_time(kept.present))
		return NULL;
	kept.trouble = NULL;
	kept.present->users++;
	return kept.present;
}
#endif
