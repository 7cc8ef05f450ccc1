/* mbedtls_config.h - what of mbedTLS is built, and what it may use of its surroundings: nothing of libc.
 *
 * Runs in: listener. Read by mbedTLS's own sources (scripts/build-mbedtls.sh) and by session.c and identity.c. So: no
 * files, no stdio, no locks, no malloc; memory, time and randomness are those of surroundings.c.
 *
 * A server of TLS 1.2 and 1.3. AEAD suites with forward secrecy alone; no renegotiation, no tickets, no compression,
 * no early data, no pre-shared keys.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_MBEDTLS_CONFIG_H
#define PPROFSHIM_MBEDTLS_CONFIG_H

/* --- surroundings ------------------------------------------------------------------------------------ */

/* The functions of libc on text that mbedTLS calls, under names of ours. (The mem… functions and strlen are
 * shim/base/mem.c's, which the linker finds first.) */
#define strchr tls_strchr
#define strstr tls_strstr
#define strncmp tls_strncmp
#define strncpy tls_strncpy
#define strcpy tls_strcpy

#define MBEDTLS_HAVE_ASM
#define MBEDTLS_NO_UDBL_DIVISION /* it would call libgcc */
#define MBEDTLS_PLATFORM_C
#define MBEDTLS_PLATFORM_MEMORY
#define MBEDTLS_PLATFORM_NO_STD_FUNCTIONS
#define MBEDTLS_MEMORY_BUFFER_ALLOC_C
#define MBEDTLS_PLATFORM_ZEROIZE_ALT
#define MBEDTLS_PLATFORM_GMTIME_R_ALT
#define MBEDTLS_PLATFORM_MS_TIME_ALT
#define MBEDTLS_PLATFORM_TIME_MACRO tls_time
#define MBEDTLS_PLATFORM_SNPRINTF_MACRO tls_snprintf
#define MBEDTLS_PLATFORM_PRINTF_MACRO tls_printf
#define MBEDTLS_PLATFORM_EXIT_MACRO tls_exit
#define MBEDTLS_HAVE_TIME
#define MBEDTLS_HAVE_TIME_DATE
#define MBEDTLS_PSA_CRYPTO_EXTERNAL_RNG
#define MBEDTLS_TEST_SW_INET_PTON

/* --- ciphers and hashes ------------------------------------------------------------------------------ */

#define MBEDTLS_AES_C
#define MBEDTLS_AES_ROM_TABLES
#define MBEDTLS_AESNI_C
#define MBEDTLS_GCM_C
#define MBEDTLS_CHACHA20_C
#define MBEDTLS_POLY1305_C
#define MBEDTLS_CHACHAPOLY_C
#define MBEDTLS_CIPHER_C
#define MBEDTLS_MD_C
#define MBEDTLS_HKDF_C
#define MBEDTLS_SHA256_C
#define MBEDTLS_SHA384_C
#define MBEDTLS_SHA512_C
#define MBEDTLS_PSA_CRYPTO_C

/* --- keys and certificates --------------------------------------------------------------------------- */

#define MBEDTLS_BIGNUM_C
#define MBEDTLS_MPI_MAX_SIZE 512 /* bytes: RSA up to 4096 bits; no key of a client holds the loop for long */
#define MBEDTLS_ECP_C
#define MBEDTLS_ECP_DP_SECP256R1_ENABLED
#define MBEDTLS_ECP_DP_SECP384R1_ENABLED
#define MBEDTLS_ECP_DP_CURVE25519_ENABLED
#define MBEDTLS_ECP_NIST_OPTIM
#define MBEDTLS_ECDH_C
#define MBEDTLS_ECDSA_C
#define MBEDTLS_RSA_C
#define MBEDTLS_PKCS1_V15
#define MBEDTLS_PKCS1_V21
#define MBEDTLS_ASN1_PARSE_C
#define MBEDTLS_ASN1_WRITE_C
#define MBEDTLS_OID_C
#define MBEDTLS_BASE64_C
#define MBEDTLS_PEM_PARSE_C
#define MBEDTLS_PK_C
#define MBEDTLS_PK_PARSE_C
#define MBEDTLS_X509_USE_C
#define MBEDTLS_X509_CRT_PARSE_C
#define MBEDTLS_X509_RSASSA_PSS_SUPPORT
#define MBEDTLS_X509_REMOVE_INFO
#define MBEDTLS_X509_MAX_INTERMEDIATE_CA 4

/* --- the protocol ------------------------------------------------------------------------------------ */

#define MBEDTLS_SSL_TLS_C
#define MBEDTLS_SSL_SRV_C
#define MBEDTLS_SSL_PROTO_TLS1_2
#define MBEDTLS_SSL_PROTO_TLS1_3
#define MBEDTLS_SSL_TLS1_3_COMPATIBILITY_MODE
#define MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL_ENABLED
#define MBEDTLS_KEY_EXCHANGE_ECDHE_RSA_ENABLED
#define MBEDTLS_KEY_EXCHANGE_ECDHE_ECDSA_ENABLED
#define MBEDTLS_SSL_EXTENDED_MASTER_SECRET
#define MBEDTLS_SSL_KEEP_PEER_CERTIFICATE
#define MBEDTLS_SSL_ALPN
#define MBEDTLS_SSL_ALL_ALERT_MESSAGES
#define MBEDTLS_SSL_IN_CONTENT_LEN 16384
#define MBEDTLS_SSL_OUT_CONTENT_LEN 16384

#include <stddef.h>

long tls_time(long *at);
int tls_snprintf(char *to, size_t room, const char *format, ...);
int tls_printf(const char *format, ...);
void tls_exit(int status);

#endif
