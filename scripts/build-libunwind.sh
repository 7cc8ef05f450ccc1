#!/bin/bash
# build-libunwind.sh OUTDIR - a private, static, position-independent libunwind.
#
# Debian's libunwind.a is not PIC, and libunwind.so in the global scope would offer its _Unwind_* and
# backtrace() to the program. So the library gets a copy of its own, built from the source package of the
# distribution: OUTDIR/src is the tree, OUTDIR/include and OUTDIR/lib are what the Makefile uses.
#
# The source comes from apt-get source, with a source list that is derived from the machine's own (deb made
# deb-src) in a temporary folder: the machine's configuration is read and not touched, root is not needed.
# Without it, a release of upstream is downloaded. Offline: LIBUNWIND_SRC=/path/to/a/source/tree, tarball or .dsc.
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

# The distribution's own stanzas of deb822 files, as deb-src. A third party's repository has other suites,
# or fails in the update below without harm. Backports are left out: the version is the release's.
suites='^(CODENAME|stable|oldstable|testing|unstable|sid)([-\/](updates|security|security\/updates))?\/?$'
derive_deb822() {
	awk -v RS= -v ORS='\n\n' -v suites="$suites" '
		{
			n = split($0, line, "\n"); text = ""; ours = 0; field = ""
			for (i = 1; i <= n; i++) {
				if (line[i] ~ /^#/)
					continue
				if (line[i] !~ /^[ \t]/) {
					field = tolower(line[i]); sub(/:.*/, "", field)
				}
				if (field == "suites") {
					m = split(line[i], word, /[ \t]+/)
					for (j = 1; j <= m; j++)
						if (word[j] ~ suites)
							ours = 1
				}
				text = text (field == "types" ? "Types: deb-src" : line[i]) "\n"
			}
			if (ours && tolower(text) !~ /uris:[ \t]*cdrom:/)
				print text
		}' "$@"
}

# The same for lines: deb [options] uri suite component...
derive_list() {
	awk -v suites="$suites" '
		$1 == "deb" || $1 == "deb-src" {
			at = 2
			if ($2 ~ /^\[/)
				while (at < NF && $(at++) !~ /\]$/)
					;
			if ($at !~ /^cdrom:/ && $(at + 1) ~ suites) {
				$1 = "deb-src"
				print
			}
		}' "$@" | sort -u
}

write_source_list() {
	local codename files=()
	# shellcheck source=/dev/null
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
	suites=${suites/CODENAME/$codename}
	mkdir -p "$tmp/sources"
	shopt -s nullglob
	files=(/etc/apt/sources.list.d/*.sources)
	[ ${#files[@]} -eq 0 ] || derive_deb822 "${files[@]}" >"$tmp/sources/own.sources"
	files=(/etc/apt/sources.list.d/*.list)
	[ ! -f /etc/apt/sources.list ] || files+=(/etc/apt/sources.list)
	[ ${#files[@]} -eq 0 ] || derive_list "${files[@]}" >"$tmp/sources/own.list"
	shopt -u nullglob
	[ -n "$(cat "$tmp"/sources/* 2>/dev/null)" ]
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
		Dir::Etc::SourceList "/dev/null";
		Dir::Etc::SourceParts "$tmp/sources";
		Dir::State::Lists "$tmp/lists";
		Dir::Cache "$tmp/cache";
		Acquire::Languages "none";
		Acquire::Retries "3";
		#clear APT::Update::Pre-Invoke;
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
	CONF
	# Root's apt would fetch as the user _apt, who may not enter our folder.
	[ "$(id -u)" -ne 0 ] || echo 'APT::Sandbox::User "root";' >>"$tmp/apt.conf"
	apt update || true # one repository without sources is no harm: the next line decides
	# dpkg-source checks the hashes against the .dsc, apt the .dsc against the signed index.
	if (cd "$tmp/fetched" && apt source --only-source libunwind); then
		set -- "$tmp"/fetched/libunwind-*/
		[ -d "$1" ] && mv "$1" "$out/src"
		return
	fi
	fetch_by_orig
}

# Where a mirror lacks some files of the source package: the tarball of upstream, which apt has checked and renamed
# once it was whole, is enough.
fetch_by_orig() {
	local tarball
	for tarball in "$tmp"/fetched/libunwind_*.orig.tar.[a-z0-9]*; do
		case $tarball in
		*.asc | *.FAILED) continue ;;
		esac
		[ -f "$tarball" ] && fetch_by_path "$tarball" && return
	done
	return 1
}

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
	fetch_by_path "$tarball"
}

# The last reasons that apt and curl gave, in one line.
reason() {
	grep -E '^(E: |curl: |wget: )' "$log" | tail -n 2 | tr '\n' ' '
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

: >"$log"
if [ -n "${LIBUNWIND_SRC:-}" ]; then
	fetch_by_path "$LIBUNWIND_SRC" ||
		fail "cannot unpack LIBUNWIND_SRC=$LIBUNWIND_SRC; give a source tree, a tarball or a .dsc of libunwind"
else
	fetch_by_apt || fetch_by_release ||
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
