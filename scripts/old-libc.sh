#!/bin/bash
# old-libc.sh FOLDER - unpack a small Debian 11 (glibc 2.31) into FOLDER: a shell, coreutils, and what a compiler
# needs to link for it.
#
# The packages are downloaded by apt-get, from the first Debian archive that this machine knows, with lists and a
# cache of their own beside FOLDER; nothing is installed. Does nothing if FOLDER is complete. Exit status 1: there is no
# such archive, or it could not be reached.
#
# SPDX-License-Identifier: Apache-2.0
set -eu

folder=$1
release=bullseye
packages="libc6 libc6-dev linux-libc-dev libcrypt1 dash coreutils libselinux1 libpcre2-8-0 libgcc-s1 libstdc++6"

[ ! -e "$folder/complete" ] || exit 0
[ "$(dpkg --print-architecture)" = amd64 ] || {
	echo "old-libc: for amd64 only" >&2
	exit 1
}
# shellcheck disable=SC2016
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -1 || true)
[ -n "$archive" ] || {
	echo "old-libc: apt knows no Debian archive here" >&2
	exit 1
}
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f "$keys" ] || keys=

mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$(cd "$(dirname "$folder")" && pwd)/old-libc.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root"
echo "deb ${keys:+[signed-by=$keys] }$archive $release main" >"$work/sources.list"
apt() {
	apt-get -qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o Dir::State::Status=/dev/null \
		-o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 \
		-o Acquire::http::Timeout=30 "$@"
}
apt update
# shellcheck disable=SC2086
(cd "$work" && apt download $packages)
for package in "$work"/*.deb; do
	dpkg-deb -x "$package" "$work/root"
done
ln -sf dash "$work/root/bin/sh"
# As a linker follows it, it must not lead out of the folder.
ln -sf ../lib/x86_64-linux-gnu/ld-2.31.so "$work/root/lib64/ld-linux-x86-64.so.2"
mkdir -p "$work/root/tmp"
touch "$work/root/complete"
rm -rf "$folder"
mv "$work/root" "$folder"
