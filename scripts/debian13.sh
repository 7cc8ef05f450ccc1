#!/bin/bash
# debian13.sh FOLDER - build the library in a Debian 13 that is made in FOLDER, by each gcc that is there, and try it:
# a program under it, its heap, CPU profile and thread dump by curl, go tool pprof on the answers.
#
# Needs root and debootstrap. The packages come from the first Debian archive that apt knows on this machine; nothing is
# installed here, and what is mounted is gone at the end. A Debian that is complete in FOLDER is used again.
#
# SPDX-License-Identifier: Apache-2.0
set -eu

fail() {
	echo "debian13: $*" >&2
	exit 1
}

# Once more in a mount namespace of our own.
if [ "${1:-}" != --inside ]; then
	[ $# -eq 1 ] || fail "usage: debian13.sh FOLDER"
	[ "$(id -u)" -eq 0 ] || fail "only root can make another Debian; use sudo"
	command -v debootstrap >/dev/null || fail "debootstrap is missing; install it with: apt-get install debootstrap"
	mkdir -p "$1"
	exec unshare --mount --propagation private "$0" --inside "$(cd "$1" && pwd)"
fi
folder=$2
root=$folder/root
source=$(cd "$(dirname "$0")/.." && pwd)
compilers="gcc-14 gcc-13"

make_debian() {
	local archive
	# shellcheck disable=SC2016
	archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -n 1)
	[ -n "$archive" ] || fail "apt knows no Debian archive here"
	rm -rf "$root"
	debootstrap --variant=minbase --include=make,ca-certificates trixie "$root" "$archive" \
		>"$folder/debootstrap.log" ||
		fail "debootstrap could not make it; $folder/debootstrap.log says why"
	touch "$folder/complete"
}

# A command inside. It is an array, not a function: what begins in the background is then the program itself.
inside=(chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
	DEBIAN_FRONTEND=noninteractive)

copy_source() {
	mkdir -p "$root/src"
	find "$root/src" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
	tar -C "$source" --exclude=./build --exclude=./.git -cf - . | tar -C "$root/src" -xf -
}

port_is_free() {
	! (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# try_it COMPILER: the demo has its debug information packed by zstd, as others' programs may.
try_it() {
	local port=$((20000 + RANDOM % 12000)) url out=$folder/$1 pid status=0
	while ! port_is_free $port; do
		port=$((port + 1))
	done
	url=http://127.0.0.1:$port/debug/pprof
	mkdir -p "$out"
	"${inside[@]}" "$1" -O1 -g -gz=zstd -pthread -rdynamic -o /src/build/demo /src/test/programs/demo.c
	"${inside[@]}" LD_PRELOAD="/src/build/$1/libpprofshim.so" PPROF_ADDR="127.0.0.1:$port" \
		/src/build/demo 120 >"$out/demo.log" 2>&1 &
	pid=$!
	{
		curl -sf --retry 20 --retry-connrefused --retry-delay 1 --noproxy '*' "$url/cmdline" >"$out/cmdline" &&
			sleep 3 &&
			curl -sf --noproxy '*' -o "$out/heap.pb.gz" "$url/heap" &&
			curl -sf --noproxy '*' -o "$out/profile.pb.gz" "$url/profile?seconds=3" &&
			curl -sf --noproxy '*' -o "$out/dump" "$url/goroutine?debug=2"
	} || status=1
	kill "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	[ $status -eq 0 ] || fail "$1: the demo did not answer at $url; $out/demo.log has its output"
	shows "$1" "$out/heap.pb.gz" session_cache_leak
	shows "$1" "$out/profile.pb.gz" request_parse
	grep -q 'worker(' "$out/dump" || fail "$1: the dump has no worker: $out/dump"
}

# shows COMPILER PROFILE FUNCTION: go tool pprof reads it, and it has that function with its line
shows() {
	local text
	text=$(go tool pprof -top -lines "$2" 2>&1) || fail "$1: go tool pprof does not read $2: $text"
	grep -qE "$3 .*demo\.c:[0-9]+" <<<"$text" || fail "$1: $2 does not show $3 with its line: $text"
}

[ -e "$folder/complete" ] || make_debian
mount -t proc proc "$root/proc" || fail "/proc cannot be mounted here"
mount --bind /dev "$root/dev"
[ ! -e /etc/resolv.conf ] || cp /etc/resolv.conf "$root/etc/resolv.conf"
copy_source
"${inside[@]}" apt-get -qq update
"${inside[@]}" /src/scripts/deps.sh build
# shellcheck disable=SC2086
"${inside[@]}" apt-get -qq -y --no-install-recommends install $compilers >"$folder/apt.log" 2>&1 ||
	fail "no $compilers; $folder/apt.log says why"
for compiler in $compilers; do
	"${inside[@]}" make -C /src -j"$(nproc)" CI=true CC="$compiler" B="build/$compiler" \
		all >"$folder/make-$compiler.log" 2>&1 ||
		fail "$compiler: $(tail -n 3 "$folder/make-$compiler.log" | tr '\n' ' ')"
	try_it "$compiler"
	echo "debian13: $compiler builds it; heap, profile and dump are whole"
done
