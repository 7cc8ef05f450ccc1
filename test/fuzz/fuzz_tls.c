/* fuzz_tls.c - any bytes as what a client sends on a port with TLS: the session ends, in whatever way, and gives all of
 * its memory back.
 *
 * Runs in: its own process, under libFuzzer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/tls/session.c http/tls/identity.c http/tls/surroundings.c http/address/peer.c http/address/ip.c
 * links: shim/base/kept_file.c shim/base/arena.c shim/base/text.c
 * libs: build/mbedtls/lib/libmbedtls.a */
#define _GNU_SOURCE
#include "test/fuzz/input.h"

#include <stdio.h>
#include <sys/socket.h>

#include "http/tls/tls.h"
#include "shim/base/confined.h"
#include "shim/base/log.h"
#include "shim/base/powers.h"
#include "tls_built.h"

void log_warn(const char *line)
{
	MUST(!line);
}

void log_info(const char *line)
{
	MUST(strlen(line) < 256);
}

bool powers_use(bool all)
{
	return all;
}

/* A key of P-256 for tests, and its own certificate, valid until 2126. */
static const char key[] = "-----BEGIN EC PRIVATE KEY-----\n"
			  "MHcCAQEEIIMz48vImAWEVVRqV2NKS2KGCUrgo5Ja5A6qYode2+/JoAoGCCqGSM49\n"
			  "AwEHoUQDQgAEOS/GeggjIrebbS65nyC3ttDTxzKcnfyb6XSLgjtJDk7p9bPZt1bq\n"
			  "XoTHUK6J37UKfXTdIm+J1I4lpadj9LSf9g==\n"
			  "-----END EC PRIVATE KEY-----\n";
static const char certificate[] = "-----BEGIN CERTIFICATE-----\n"
				  "MIIBdTCCARugAwIBAgIUJUlLkostv5wDXjMIU5yWvxirivAwCgYIKoZIzj0EAwIw\n"
				  "DzENMAsGA1UEAwwEZnV6ejAgFw0yNjExMzAxOTE2MzVaGA8yMTI2MTEwNjE5MTYz\n"
				  "NVowDzENMAsGA1UEAwwEZnV6ejBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDkv\n"
				  "xnoIIyK3m20uuZ8gt7bQ08cynJ38m+l0i4I7SQ5O6fWz2bdW6l6Ex1Cuid+1Cn10\n"
				  "3SJvidSOJaWnY/S0n/ajUzBRMB0GA1UdDgQWBBSO76McoYlpNyT7+3u6M/tkksty\n"
				  "2TAfBgNVHSMEGDAWgBSO76McoYlpNyT7+3u6M/tkksty2TAPBgNVHRMBAf8EBTAD\n"
				  "AQH/MAoGCCqGSM49BAMCA0gAMEUCIEA2UT5gESe+qlEvo2M1IFVyc8Fs9jmp3FrM\n"
				  "g1+t2cgGAiEAkYeK1XI19q3WJVDQ+ligd/JixroXyYxWS4nPR61XD5s=\n"
				  "-----END CERTIFICATE-----\n";

static const struct secure_layer *start(void)
{
	static char key_path[64], certificate_path[64];
	static int key_fd, certificate_fd;
	file_fill(&key_fd, key, sizeof key - 1);
	file_fill(&certificate_fd, certificate, sizeof certificate - 1);
	snprintf(key_path, sizeof key_path, "/proc/self/fd/%d", key_fd);
	snprintf(certificate_path, sizeof certificate_path, "/proc/self/fd/%d", certificate_fd);
	return tls_start(
		&(struct tls_options){.certificate = certificate_path, .key = key_path, .client_ca = certificate_path});
}

/* What a connection does with a session, until the client has ended it. */
static void serve(const struct secure_layer *layer, struct secure *s)
{
	enum secure_step step = SECURE_WAITS;
	char bytes[4096];
	for (int i = 0; i < 100 && step == SECURE_WAITS; i++) {
		MUST(layer->interest(s));
		step = layer->shake_hands(s);
	}
	if (step == SECURE_READY && layer->receive(s, bytes, sizeof bytes) > 0)
		layer->send(s, &(struct iovec){bytes, sizeof bytes}, 1);
	if (step != SECURE_PLAIN)
		layer->say_end(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct secure_layer *layer;
	int ends[2];
	if (!TLS_IS_BUILT || size > 65536)
		return 0;
	if (!layer)
		layer = start();
	MUST(layer && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
	MUST(size == 0 || write(ends[1], data, size) == (ssize_t)size);
	MUST(shutdown(ends[1], SHUT_WR) == 0);
	struct secure *s = layer->open(ends[0]);
	MUST(s); /* else memory has leaked */
	serve(layer, s);
	layer->close(s);
	close(ends[0]);
	close(ends[1]);
	return 0;
}
