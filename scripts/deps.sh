#!/bin/bash
# deps.sh [--check] GROUP... - install the Debian packages that a group of targets needs and that are missing.
#
# Groups: build run test bench fuzz debian13 lint. When nothing is missing, apt is not called at all, and neither root
# nor sudo is needed. With --check nothing is installed: what is missing is named with the command that installs it.
#
# SPDX-License-Identifier: Apache-2.0
set -eu

declare -A packages=(
	[build]="gcc g++ libc6-dev make binutils libprotobuf-c-dev protobuf-c-compiler zlib1g-dev
		libdw-dev libelf-dev libiberty-dev liblzma-dev libbz2-dev libzstd-dev
		dpkg-dev ca-certificates xz-utils bzip2 patch"
	[run]="golang-go curl"
	[test]="python3-pytest python3-pytest-xdist python3-pytest-timeout
		clang libclang-rt-14-dev gfortran
		libcmocka-dev llvm libc6-dbg dwz python3 golang-go curl redis-server redis-tools
		nginx-light sqlite3 libsqlite3-0 jq
		perl lua5.4 memcached libjemalloc2 libtcmalloc-minimal4 procps binutils strace valgrind g++ gzip
		xz-utils luajit musl-tools
		qemu-user gdb libboost-context-dev python3-greenlet python3-gevent ruby php-cli openssl
		qemu-utils bubblewrap dumb-init tini
		parallel sudo openssh-server openssh-client file imagemagick zstd pigz lz4 bzip2 libjpeg-turbo-progs sox
		gstreamer1.0-tools vim apache2-bin haproxy lighttpd vsftpd socat ninja-build cmake git rsync cpio
		zip unzip
		libarchive-tools zsh ksh tmux gawk bc tcl postgresql php-fpm"
	[bench]="python3 g++ redis-server redis-tools sqlite3 jq perl lua5.4 procps valgrind xz-utils memcached"
	[fuzz]="clang libclang-rt-14-dev dwz xz-utils"
	[debian13]="debootstrap util-linux curl golang-go"
	[lint]="shellcheck mandoc binutils python3 gcc clang-format codespell cppcheck flake8" # no ruff in Debian 12
)

say() {
	echo "deps: $*" >&2
}

check_only=
if [ "${1:-}" = --check ]; then
	check_only=1
	shift
fi
wanted=()
for group; do
	if [ -z "${packages[$group]:-}" ]; then
		say "unknown group '$group'; the groups are: build run test bench fuzz debian13 lint"
		exit 2
	fi
	read -r -d '' -a words <<<"${packages[$group]}" || true
	wanted+=("${words[@]}")
done

if ! command -v dpkg-query >/dev/null; then
	say "no dpkg here, nothing was checked or installed; needed, by Debian's names: ${wanted[*]}"
	exit 0
fi

# A package counts as there if it is installed, or if one that provides it is.
find_missing() {
	mapfile -t missing < <(comm -23 \
		<(printf '%s\n' "${wanted[@]}" | sort -u) \
		<(dpkg-query -W -f '${db:Status-Status} ${Package} ${Provides}\n' |
			sed -n 's/^installed //p' | sed 's/([^)]*)//g' | tr -d , | tr -s ' ' '\n' | sort -u))
}

# One line a package, with a command that can be copied.
name_missing() {
	local p
	for p in "${missing[@]}"; do
		say "missing: $p ($1); install it with: ${as_root:+sudo }apt-get install --no-install-recommends $p"
	done
	exit 1
}

find_missing
[ ${#missing[@]} -gt 0 ] || exit 0
as_root=
[ "$(id -u)" -eq 0 ] || as_root=sudo
[ -z "$check_only" ] || name_missing "nothing was installed"
[ -z "$as_root" ] || command -v sudo >/dev/null || name_missing "neither root nor sudo here"

# Debian starts a server's service when its package is installed, and a build must not start redis or nginx:
# invoke-rc.d asks policy-rc.d, whose status 101 means "not allowed" (and starts nothing in runlevel 1). The
# file is there only while apt runs; a machine that has one already keeps it.
policy=/usr/sbin/policy-rc.d
policy_is_ours=
remove_policy() {
	[ -z "$policy_is_ours" ] || $as_root rm -f "$policy"
}
trap remove_policy EXIT
trap 'exit 130' INT TERM HUP
if [ ! -e "$policy" ]; then
	policy_is_ours=1
	{
		printf '#!/bin/sh\n# temporary, of scripts/deps.sh of pprofshim: may be removed\nexit 101\n' |
			$as_root tee "$policy" >/dev/null && $as_root chmod 755 "$policy"
	} || name_missing "cannot write $policy"
fi

apt() {
	$as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -y \
		-o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@" </dev/null >/dev/null
}
install() {
	apt install --no-install-recommends "$@"
}

# The package lists may be absent or older than the mirror: then the first try fails, and is made again after
# an update. What one package lacks must not keep the others away: the last try is one by one.
say "installing ${missing[*]}"
if ! install "${missing[@]}" 2>/dev/null; then
	apt update || say "apt-get update failed; going on with the package lists that are here"
	install "${missing[@]}" || for p in "${missing[@]}"; do install "$p" || true; done
fi
find_missing
[ ${#missing[@]} -eq 0 ] || name_missing "apt-get could not install it"
