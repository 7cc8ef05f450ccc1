#!/bin/bash
# build-libunwind.sh OUTDIR - a private, static, position-independent libunwind.
#
# Debian's libunwind.a is not PIC, and libunwind.so in the global scope would offer its _Unwind_* and
# backtrace() to the program. So the library gets a copy of its own, built from the source package of the
# distribution: OUTDIR/src is the tree, OUTDIR/include and OUTDIR/lib are what the Makefile uses.
#
# fetch-source.sh fetches it. Where it cannot, a release of upstream is downloaded. Offline:
# LIBUNWIND_SRC=/path/to/a/source/tree, tarball or .dsc.
#
# A second call with the same settings does nothing.
#
# SPDX-License-Identifier: Apache-2.0
set -eu

fail() {
	echo "build-libunwind: $*" >&2
	exit 1
}

[ $# -eq 1 ] || fail "usage: build-libunwind.sh OUTDIR"
scripts=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
cc=${CC:-cc}
log=$out/build.log

cflags="-O2 -g -fPIC -fno-plt -fvisibility=hidden -ffunction-sections -fdata-sections"
configure_flags=(
	--enable-static --disable-shared --with-pic
	--disable-minidebuginfo --disable-debug-frame --disable-cxx-exceptions
	--disable-tests --disable-documentation
	--disable-ptrace --disable-coredump --disable-setjmp
)

# What the result depends on. The stamp holds it, so that the same wish is granted only once.
# shellcheck disable=SC2086 # CC may be two words, as in "ccache gcc"
wish="$cc $($cc -dumpfullversion -dumpmachine 2>/dev/null | tr '\n' ' ')
$cflags
${configure_flags[*]}
${LIBUNWIND_SRC:-apt}"
if [ -f "$out/stamp" ] && [ "$(cat "$out/stamp")" = "$wish" ]; then
	touch "$out/stamp"
	exit 0
fi
rm -rf "${out:?}/stamp" "$out/src" "$out/include" "${out:?}/lib"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# The second source: a release of upstream, by its checksum.
release=https://download.savannah.nongnu.org/releases/libunwind/libunwind-1.6.2.tar.gz
release_sha256=4a6aec666991fb45d0889c44aede8ad6eb108071c3554fcdff671f9c94794976
fetch_by_release() {
	local tarball=$tmp/release.tar.gz
	if command -v curl >/dev/null; then
		curl --silent --show-error --fail --location --max-time 60 -o "$tarball" "$release" >>"$log" 2>&1
	elif command -v wget >/dev/null; then
		wget --quiet --timeout=60 -O "$tarball" "$release" >>"$log" 2>&1
	else
		echo "E: there is neither curl nor wget" >>"$log"
		return 1
	fi || return 1
	if ! echo "$release_sha256  $tarball" | sha256sum --check --status; then
		echo "E: $release has another checksum" >>"$log"
		return 1
	fi
	fetch_source --unpack "$tarball"
}

# The last reasons that apt and curl gave, in one line.
reason() {
	grep -E '^(E: |curl: |wget: )' "$log" | tail -n 2 | tr '\n' ' '
}

fetch_source() {
	"$scripts/fetch-source.sh" "$@" "$out/src" >>"$log" 2>&1
}

: >"$log"
if [ -n "${LIBUNWIND_SRC:-}" ]; then
	fetch_source --unpack "$LIBUNWIND_SRC" ||
		fail "cannot unpack LIBUNWIND_SRC=$LIBUNWIND_SRC; give a source tree, a tarball or a .dsc of libunwind"
else
	fetch_source --orig-will-do libunwind || fetch_by_release ||
		fail "no libunwind source by apt or from $release: $(reason)- check the network, or set LIBUNWIND_SRC" \
			"to a source tree or tarball (all is in $log)"
fi
[ -x "$out/src/configure" ] ||
	fail "$out/src has no configure script; run autoreconf -i there first, or use a release tarball"

cd "$out/src"
{
	./configure --prefix="$out" --libdir="$out/lib" "${configure_flags[@]}" \
		CC="$cc" CFLAGS="$cflags -ffile-prefix-map=$out/src=libunwind" &&
		make -j"$(getconf _NPROCESSORS_ONLN)" MAKEFLAGS= && make install MAKEFLAGS=
} >>"$log" 2>&1 || fail "libunwind did not build; the last lines of $log say why"
# Its unwind.h would stand before the compiler's own in the include path.
rm -rf "$out/lib/pkgconfig" "$out"/lib/*.la "$out/include/unwind.h"
printf '%s\n' "$wish" >"$out/stamp"
