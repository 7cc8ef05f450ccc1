#!/bin/bash
# build-mbedtls.sh OUTDIR - a private, static, position-independent mbedTLS 3.6 for the listener.
#
# The source is that of Debian 13: Debian 12's 2.28 has no server of TLS 1.3. fetch-source.sh fetches it. Offline:
# MBEDTLS_SRC=/path/to/a/source/tree, tarball or .dsc.
#
# Where it can't be had, one line says so, and the library is built without TLS: the settings that ask for TLS then keep
# the endpoint shut.
#
#   OUTDIR/include          mbedTLS's headers, and tls_built.h: TLS_IS_BUILT is 1 or 0
#   OUTDIR/lib/libmbedtls.a code, constants and variables in sections of their own (tls_text, tls_rodata, tls_state),
#                           so that they share no page with ours
#   OUTDIR/obj              the objects as they were compiled, for scripts/check-reach
#
# What is built, and what it may call: http/tls/mbedtls_config.h. A second call with the same settings does nothing.
#
# SPDX-License-Identifier: Apache-2.0
set -eu

release=trixie

fail() {
	echo "build-mbedtls: $*" >&2
	exit 1
}

[ $# -eq 1 ] || fail "usage: build-mbedtls.sh OUTDIR"
cd "$(dirname "$0")/.."
root=$PWD
config=http/tls/mbedtls_config.h
mkdir -p "$1"
out=$(cd "$1" && pwd)
cc=${CC:-cc}
log=$out/build.log

# No unwind tables: nothing unwinds the listener but a debugger, which has those of -g.
cflags="-std=gnu11 -O2 -g -fPIC -fno-plt -fvisibility=hidden -ffunction-sections -fdata-sections
-fno-exceptions -fno-unwind-tables -fno-asynchronous-unwind-tables -w"
# clang puts bcmp in memcmp's place, which is not one of the functions of shim/base/mem.c.
# shellcheck disable=SC2086 # CC may be two words, as in "ccache gcc"
! $cc --version 2>/dev/null | grep -q clang || cflags="$cflags -fno-builtin-bcmp"

# What the result depends on. The stamp holds it, so that the same wish is granted only once.
# shellcheck disable=SC2086 # CC may be two words, as in "ccache gcc"
wish="$cc $($cc -dumpfullversion -dumpmachine 2>/dev/null | tr '\n' ' ')
$cflags
$(sha256sum <"$config")
$(sha256sum <scripts/build-mbedtls.sh)
${MBEDTLS_SRC:-apt}"
if [ -f "$out/stamp" ] && [ "$(cat "$out/stamp")" = "$wish" ]; then
	touch "$out/stamp"
	exit 0
fi
rm -rf "${out:?}/stamp" "$out/include" "${out:?}/lib" "$out/obj"
mkdir -p "$out/include" "$out/lib" "$out/obj"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

finish() {
	echo "#define TLS_IS_BUILT $1" >"$out/include/tls_built.h"
	printf '%s\n' "$wish" >"$out/stamp"
	exit 0
}

do_without() {
	echo "build-mbedtls: no source of mbedTLS by apt from Debian's $release; built without TLS ($log says why; to" \
		"try again: rm -r $1, or set MBEDTLS_SRC to a source tree or tarball)" >&2
	ar rcs "$out/lib/libmbedtls.a"
	finish 0
}

: >"$log"
if [ -n "${MBEDTLS_SRC:-}" ] || [ ! -d "$out/src/library" ]; then # a config that changed needs no new source
	rm -rf "$out/src"
	if [ -n "${MBEDTLS_SRC:-}" ]; then
		scripts/fetch-source.sh --unpack "$MBEDTLS_SRC" "$out/src" >>"$log" 2>&1 ||
			fail "cannot unpack MBEDTLS_SRC=$MBEDTLS_SRC; give a tree, tarball or .dsc of mbedTLS 3.6"
	else
		scripts/fetch-source.sh --release "$release" mbedtls "$out/src" >>"$log" 2>&1 || do_without "$1"
	fi
fi
grep -q 'define MBEDTLS_VERSION_MAJOR *3$' "$out/src/include/mbedtls/build_info.h" 2>/dev/null ||
	fail "$out/src is no mbedTLS 3"

# Sources that verify certificates of strangers go by our limits (surroundings.c).
# shellcheck disable=SC2317 # xargs calls it
compile() {
	local name more=''
	name=$(basename "$1" .c)
	case $name in
	ssl_* | x509* | psa_* | pk* | asn1* | oid | error | debug | version*) more=-Os ;; # no maths, run once a message
	esac
	[ "$name" != x509_crt ] ||
		more+=" -Dmbedtls_pk_parse_subpubkey=tls_parse_public_key -Dmbedtls_pk_verify_ext=tls_verify"
	# shellcheck disable=SC2086
	$cc $cflags $more -ffile-prefix-map="$out/src=mbedtls" -I"$root" -I"$out/src/include" -I"$out/src/library" \
		-DMBEDTLS_CONFIG_FILE="\"$config\"" -c -o "$out/obj/$name.o" "$1"
}

# Sections under names of their own. (objcopy takes one option a section.)
separate() {
	local options=() section
	while read -r section; do
		case $section in
		.text*) options+=(--rename-section "$section=tls_text") ;;
		.rodata.str* | .rodata.cst*) ;; # the linker merges these with ours
		.rodata*) options+=(--rename-section "$section=tls_rodata") ;;
		.bss*) options+=(--rename-section "$section=tls_state") ;;
		esac
	done < <(objdump -h "$1" | awk '$1 ~ /^[0-9]+$/ { print $2 }' | sort -u)
	objcopy "${options[@]}" "$1" "$2"
}

build() {
	local source
	export -f compile
	export cc cflags out root config
	printf '%s\n' "$out"/src/library/*.c |
		xargs -P "$(getconf _NPROCESSORS_ONLN)" -I{} bash -euc 'compile {}' || return 1
	mkdir "$tmp/separate"
	for source in "$out"/obj/*.o; do
		separate "$source" "$tmp/separate/$(basename "$source")" || return 1
	done
	ar rcs "$out/lib/libmbedtls.a" "$tmp"/separate/*.o
	cp -R "$out/src/include/mbedtls" "$out/src/include/psa" "$out/include"
}
build >>"$log" 2>&1 || fail "mbedTLS did not build; the last lines of $log say why"
finish 1
