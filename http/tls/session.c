/* session.c - one client's TLS: its handshake, and the bytes of its connection.
 *
 * Runs in: listener, between two waits of the event loop. Nothing here waits: each read and write of the socket is one
 * non-blocking system call.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/tls/tls.h"

#include <stdbool.h>

#include "tls_built.h"

static bool is_set(const char *path)
{
	return path && path[0];
}

static bool is_wanted(const struct tls_options *o)
{
	return is_set(o->certificate) || is_set(o->key) || is_set(o->client_ca);
}

#if TLS_IS_BUILT
#include <mbedtls/oid.h>
#include <mbedtls/platform.h>
#include <sys/epoll.h>

#include "http/address/peer.h"
#include "http/tls/identity.h"
#include "http/tls/surroundings.h"
#include "shim/base/log.h"
#include "shim/base/os.h"
#include "shim/base/text.h"

enum {
	SLICE_NS = 10 * 1000 * 1000, /* of a handshake, before other clients have their turn */
	SEND_AT_ONCE = 128 * 1024,
	HANDSHAKE_RECORD = 22, /* first byte of what a client begins with (RFC 8446, 5.1) */
	SOCKET_ERROR = -0x4e,  /* of mbedTLS's net_sockets.h, which is not built */
};

struct secure {
	mbedtls_ssl_context ssl;
	struct identity *identity;
	int fd;
	bool has_begun;   /* a byte of the client's has come */
	bool is_plain;    /* and it was none of TLS */
	bool wants_write; /* the socket took no more */
	bool has_more;    /* the slice was used up */
	char user[48];
};

/* ---- the socket, as mbedTLS calls it ---- */

static int send_bytes(void *arg, const unsigned char *from, size_t n)
{
	struct secure *s = arg;
	long sent = os_call(SYS_sendto, s->fd, from, n, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
	if (sent == -EAGAIN || sent == -EINTR)
		return MBEDTLS_ERR_SSL_WANT_WRITE;
	return sent < 0 ? SOCKET_ERROR : (int)sent;
}

static int receive_bytes(void *arg, unsigned char *to, size_t n)
{
	struct secure *s = arg;
	long got = os_call(SYS_recvfrom, s->fd, to, n, MSG_DONTWAIT, 0, 0);
	if (got == -EAGAIN || got == -EINTR)
		return MBEDTLS_ERR_SSL_WANT_READ;
	if (got < 0)
		return SOCKET_ERROR;
	if (got > 0 && !s->has_begun) {
		s->has_begun = true;
		s->is_plain = *to >= 'A' && *to <= 'Z'; /* a method */
		if (*to != HANDSHAKE_RECORD)
			return SOCKET_ERROR;
	}
	return (int)got;
}

/* Returns -EAGAIN where the session has to wait, else -EPROTO. */
static long note(struct secure *s, int r)
{
	s->wants_write = r == MBEDTLS_ERR_SSL_WANT_WRITE;
	return r == MBEDTLS_ERR_SSL_WANT_READ || s->wants_write ? -EAGAIN : -EPROTO;
}

/* ---- who it is ---- */

/* "CN=alice,O=Ops": the subject's fields in their order (as in RFC 2253, but not turned round). */
static void print_subject(const mbedtls_x509_name *field, struct line *l)
{
	for (; field; field = field->next) {
		const char *name = NULL;
		if (mbedtls_oid_get_attr_short_name(&field->oid, &name) != 0)
			continue;
		line_str(l, l->len ? "," : "");
		line_str(l, name);
		line_str(l, "=");
		line_bytes(l, (const char *)field->val.p, field->val.len);
	}
}

static void find_user(struct secure *s)
{
	struct line l = LINE(s->user);
	const mbedtls_x509_crt *c = mbedtls_ssl_get_peer_cert(&s->ssl);
	if (c)
		print_subject(&c->subject, &l);
}

/* ---- the handshake ---- */

static const char *why_not_trusted(uint32_t flags)
{
	return flags & MBEDTLS_X509_BADCERT_MISSING   ? "the client has no certificate"
	       : flags & MBEDTLS_X509_BADCERT_EXPIRED ? "the client's certificate has expired"
	       : flags & MBEDTLS_X509_BADCERT_FUTURE  ? "the client's certificate is not valid yet"
	                                              : "the client's certificate is none of PPROF_TLS_CLIENT_CA";
}

static const char *why_failed(struct secure *s, int r)
{
	uint32_t flags = mbedtls_ssl_get_verify_result(&s->ssl);
	switch (r) {
	case MBEDTLS_ERR_X509_CERT_VERIFY_FAILED: return why_not_trusted(flags);
	case MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE: return "the client has no certificate";
	case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE: return "the client refuses it, maybe the certificate";
	case MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION: return "the client speaks neither TLS 1.2 nor TLS 1.3";
	case MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE: return "no suite, group or signature of the client's is known here";
	case MBEDTLS_ERR_SSL_NO_APPLICATION_PROTOCOL: return "the client does not speak HTTP/1.1";
	case MBEDTLS_ERR_SSL_ALLOC_FAILED: return "no memory is left for it";
	case MBEDTLS_ERR_SSL_CONN_EOF: return "the client has gone";
	}
	return "the client breaks the protocol";
}

static void tell_failure(struct secure *s, int r)
{
	char text[256];
	struct line l = LINE(text);
	struct peer peer = peer_of(s->fd);
	line_str(&l, "no TLS with ");
	peer_print(&peer, &l);
	line_str(&l, ": ");
	line_str(&l, why_failed(s, r));
	line_str(&l, " (mbedTLS: -0x");
	line_hex(&l, (uint64_t)-r);
	line_str(&l, ")");
	log_info(l.at);
}

static int take_steps(struct secure *s)
{
	uint64_t end_ns = os_clock_ns(CLOCK_MONOTONIC) + SLICE_NS;
	int r = 0;
	surroundings_allow_signatures();
	s->has_more = false;
	while (r == 0 && !mbedtls_ssl_is_handshake_over(&s->ssl) && !s->has_more) {
		r = mbedtls_ssl_handshake_step(&s->ssl);
		s->has_more = r == 0 && os_clock_ns(CLOCK_MONOTONIC) > end_ns;
	}
	return r;
}

static enum secure_step shake_hands(struct secure *s)
{
	int r = take_steps(s);
	if (r == 0 && mbedtls_ssl_is_handshake_over(&s->ssl)) {
		s->wants_write = s->has_more = false;
		find_user(s);
		return SECURE_READY;
	}
	if (r == 0 || note(s, r) == -EAGAIN)
		return SECURE_WAITS;
	if (s->is_plain)
		return SECURE_PLAIN;
	tell_failure(s, r);
	return SECURE_FAILED;
}

/* ---- requests and answers ---- */

static long receive(struct secure *s, void *to, size_t room)
{
	size_t n = 0;
	int r = 1;
	while (n < room && (r = mbedtls_ssl_read(&s->ssl, (unsigned char *)to + n, room - n)) > 0)
		n += (size_t)r;
	s->wants_write = false;
	if (n)
		return (long)n; /* what ended it is seen again at the next call */
	if (r == 0 || r == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY || r == MBEDTLS_ERR_SSL_CONN_EOF)
		return 0;
	return note(s, r);
}

/* Each call of ssl_write makes one record. One that the socket did not take whole is kept, and counts as sent when the
 * rest of it has gone: the caller sends the same bytes again. */
static long send_parts(struct secure *s, const struct iovec *parts, size_t n)
{
	long sent = 0;
	for (; n && sent < SEND_AT_ONCE; n--, parts++)
		for (size_t at = 0; at < parts->iov_len;) {
			int r = mbedtls_ssl_write(&s->ssl, (const unsigned char *)parts->iov_base + at,
			                          parts->iov_len - at);
			if (r <= 0)
				return sent ? sent : r == MBEDTLS_ERR_SSL_WANT_WRITE ? -EAGAIN : -EPROTO;
			at += (size_t)r;
			sent += r;
		}
	return sent;
}

static uint32_t interest(const struct secure *s)
{
	if (s->wants_write)
		return EPOLLOUT;
	/* What is here already is no event of the socket; that it can be written is one at once. */
	bool at_once = s->has_more || mbedtls_ssl_check_pending(&s->ssl);
	return EPOLLIN | EPOLLRDHUP | (at_once ? EPOLLOUT : 0);
}

static const char *user(const struct secure *s)
{
	return s->user;
}

static void say_end(struct secure *s)
{
	mbedtls_ssl_close_notify(&s->ssl); /* after a failed handshake it does nothing */
}

/* ---- a session ---- */

static void close_session(struct secure *s)
{
	mbedtls_ssl_free(&s->ssl);
	identity_give_back(s->identity);
	mbedtls_free(s);
}

static struct secure *begin(struct identity *i, int fd)
{
	struct secure *s = i ? mbedtls_calloc(1, sizeof *s) : NULL;
	if (!s) {
		identity_give_back(i);
		return NULL;
	}
	s->identity = i;
	s->fd = fd;
	mbedtls_ssl_init(&s->ssl);
	if (mbedtls_ssl_setup(&s->ssl, &i->config) != 0) {
		close_session(s);
		return NULL;
	}
	mbedtls_ssl_set_bio(&s->ssl, s, send_bytes, receive_bytes, NULL);
	return s;
}

static bool is_on; /* the listener's: there is memory */

static struct secure *open_session(int fd)
{
	return is_on ? begin(identity_take(), fd) : NULL;
}

static const struct secure_layer layer = {
	.open = open_session,
	.shake_hands = shake_hands,
	.receive = receive,
	.send = send_parts,
	.interest = interest,
	.user = user,
	.say_end = say_end,
	.close = close_session,
};

const struct secure_layer *tls_start(const struct tls_options *options)
{
	if (!is_wanted(options))
		return NULL;
	is_on = surroundings_start();
	identity_start(options);
	if (is_on)
		identity_give_back(identity_take()); /* says in the log what is wrong */
	else
		log_warn("TLS can't be had: no memory (raise PPROF_MEMORY_LIMIT), or no random bytes of the kernel; "
		         "the endpoint stays shut");
	return &layer;
}

#else /* the library was built without mbedTLS's source */
#include "shim/base/log.h"

static struct secure *open_session(int fd)
{
	(void)fd;
	return NULL;
}

const struct secure_layer *tls_start(const struct tls_options *options)
{
	static const struct secure_layer shut = {.open = open_session};
	if (!is_wanted(options))
		return NULL;
	log_warn("this library was built without TLS (make says why), and PPROF_TLS_CERT, _KEY or _CLIENT_CA is set; "
	         "the endpoint stays shut");
	return &shut;
}
#endif
