#!/bin/bash
# build-mbedtls.sh OUTDIR - a private, static, position-independent mbedTLS 3.6 for the listener.
#
# The source is that of Debian 13: Debian 12's 2.28 has no server of TLS 1.3. apt-get fetches it, from the first Debian
# archives that this machine knows, with lists of its own in a temporary folder: the machine's configuration is read and
# not touched, root is not needed. Offline: MBEDTLS_SRC=/path/to/a/source/tree, tarball or .dsc.
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

cflags="-std=gnu11 -O2 -g -fPIC -fno-plt -fvisibility=hidden -ffunction-sections -fdata-sections -fexceptions
-fasynchronous-unwind-tables -w"
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

# The archives of this machine's own sources: Debian's, and that of its security updates.
write_source_list() {
	local keys=/usr/share/keyrings/debian-archive-keyring.gpg archive
	[ -f "$keys" ] || keys=
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>>"$log" | sort -u >"$tmp/archives"
	archive=$(grep -E '/debian/?$' "$tmp/archives" | head -1)
	[ -n "$archive" ] || return 1
	echo "deb-src ${keys:+[signed-by=$keys] }$archive $release main" >"$tmp/sources.list"
	archive=$(grep -E '/debian-security/?$' "$tmp/archives" | head -1)
	[ -z "$archive" ] ||
		echo "deb-src ${keys:+[signed-by=$keys] }$archive $release-security main" >>"$tmp/sources.list"
}

# apt with folders of its own. The update hooks of the machine are cleared: they are for the machine's lists.
apt() {
	apt-get -q -c "$tmp/apt.conf" "$@" >>"$log" 2>&1 </dev/null
}

fetch_by_apt() {
	command -v apt-get >/dev/null && command -v dpkg-source >/dev/null || return 1
	write_source_list || return 1
	mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial" "$tmp/fetched"
	cat >"$tmp/apt.conf" <<-CONF
		Dir::Etc::SourceList "$tmp/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		Dir::State::Lists "$tmp/lists";
		Dir::Cache "$tmp/cache";
		Acquire::Languages "none";
		Acquire::Retries "3";
		Acquire::http::Timeout "30";
		#clear APT::Update::Pre-Invoke;
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
	CONF
	# Root's apt would fetch as the user _apt, who may not enter our folder.
	[ "$(id -u)" -ne 0 ] || echo 'APT::Sandbox::User "root";' >>"$tmp/apt.conf"
	apt update || true # one archive without this release is no harm: the next line decides
	(cd "$tmp/fetched" && apt source --only-source mbedtls) || return 1
	set -- "$tmp"/fetched/mbedtls-*/
	[ -d "$1" ] && mv "$1" "$out/src"
}

fetch_by_path() {
	if [ -d "$1" ]; then
		cp -R "$1" "$out/src" >>"$log" 2>&1
	elif [ "${1%.dsc}" != "$1" ]; then
		dpkg-source --extract "$1" "$out/src" >>"$log" 2>&1
	else
		mkdir "$out/src" && tar -xf "$1" -C "$out/src" --strip-components=1 >>"$log" 2>&1
	fi
}

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
		fetch_by_path "$MBEDTLS_SRC" ||
			fail "cannot unpack MBEDTLS_SRC=$MBEDTLS_SRC; give a tree, tarball or .dsc of mbedTLS 3.6"
	else
		fetch_by_apt || do_without "$1"
	fi
fi
grep -q 'define MBEDTLS_VERSION_MAJOR *3$' "$out/src/include/mbedtls/build_info.h" 2>/dev/null ||
	fail "$out/src is no mbedTLS 3"

# Sources that verify certificates of strangers go by our limits (surroundings.c).
# shellcheck disable=SC2317 # xargs calls it
compile() {
	local name limits=
	name=$(basename "$1" .c)
	[ "$name" != x509_crt ] ||
		limits="-Dmbedtls_pk_parse_subpubkey=tls_parse_public_key -Dmbedtls_pk_verify_ext=tls_verify"
	# shellcheck disable=SC2086
	$cc $cflags $limits -ffile-prefix-map="$out/src=mbedtls" -I"$root" -I"$out/src/include" -I"$out/src/library" \
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
