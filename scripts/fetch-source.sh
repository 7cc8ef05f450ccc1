#!/bin/bash
# fetch-source.sh [--release NAME] [--orig-will-do] PACKAGE DIR - a Debian source package as a new folder DIR
# fetch-source.sh --unpack PATH DIR - the same of a source tree, a tarball or a .dsc
#
# apt-get fetches, with a source list and lists of its own in a temporary folder: the machine's configuration is read
# and not touched, root is not needed. The source list is derived from the machine's own (deb made deb-src); with
# --release, it is that release of Debian in the first Debian archives that this machine knows.
#
# What happens is told on standard output, for a log. Ends with 1 if there is no such source to be had.
#
# SPDX-License-Identifier: Apache-2.0
set -eu

fail() {
	echo "E: $*" >&2
	exit 1
}

release='' orig_will_do='' is_path=''
while [ $# -gt 2 ]; do
	case $1 in
	--release) release=$2 && shift ;;
	--orig-will-do) orig_will_do=1 ;;
	--unpack) is_path=1 ;;
	*) break ;;
	esac
	shift
done
[ $# -eq 2 ] || fail "usage: fetch-source.sh [--release NAME] [--orig-will-do] PACKAGE DIR | --unpack PATH DIR"
source=$1 dir=$2

unpack() {
	if [ -d "$1" ]; then
		cp -R "$1" "$dir"
	elif [ "${1%.dsc}" != "$1" ]; then
		dpkg-source --extract "$1" "$dir"
	else
		mkdir "$dir" && tar -xf "$1" -C "$dir" --strip-components=1
	fi
}

if [ -n "$is_path" ]; then
	unpack "$source"
	exit
fi

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

write_own_sources() {
	local codename files=()
	# shellcheck source=/dev/null
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
	suites=${suites/CODENAME/$codename}
	shopt -s nullglob
	files=(/etc/apt/sources.list.d/*.sources)
	[ ${#files[@]} -eq 0 ] || derive_deb822 "${files[@]}" >"$tmp/sources/own.sources"
	files=(/etc/apt/sources.list.d/*.list)
	[ ! -f /etc/apt/sources.list ] || files+=(/etc/apt/sources.list)
	[ ${#files[@]} -eq 0 ] || derive_list "${files[@]}" >"$tmp/sources/own.list"
	shopt -u nullglob
	[ -n "$(cat "$tmp"/sources/* 2>/dev/null)" ]
}

# The archives of this machine's own sources: Debian's, and that of its security updates.
write_release_sources() {
	local keys=/usr/share/keyrings/debian-archive-keyring.gpg archive
	[ -f "$keys" ] || keys=
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sort -u >"$tmp/archives"
	archive=$(grep -E '/debian/?$' "$tmp/archives" | head -1)
	[ -n "$archive" ] || return 1
	echo "deb-src ${keys:+[signed-by=$keys] }$archive $release main" >"$tmp/sources/release.list"
	archive=$(grep -E '/debian-security/?$' "$tmp/archives" | head -1)
	[ -z "$archive" ] ||
		echo "deb-src ${keys:+[signed-by=$keys] }$archive $release-security main" >>"$tmp/sources/release.list"
}

# apt with folders of its own. The update hooks of the machine are cleared: they are for the machine's lists.
write_apt_conf() {
	cat >"$tmp/apt.conf" <<-CONF
		Dir::Etc::SourceList "/dev/null";
		Dir::Etc::SourceParts "$tmp/sources";
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
}

apt() {
	apt-get -q -c "$tmp/apt.conf" "$@" </dev/null
}

# Where a mirror lacks some files of the source package: the tarball of upstream, which apt has checked and renamed
# once it was whole.
unpack_orig() {
	local tarball
	for tarball in "$tmp/fetched/${source}"_*.orig.tar.[a-z0-9]*; do
		case $tarball in
		*.asc | *.FAILED) continue ;;
		esac
		[ -f "$tarball" ] && unpack "$tarball" && return
	done
	return 1
}

for tool in apt-get dpkg-source; do
	command -v "$tool" >/dev/null || fail "there is no $tool"
done
mkdir -p "$tmp/sources" "$tmp/lists/partial" "$tmp/cache/archives/partial" "$tmp/fetched"
if [ -n "$release" ]; then
	write_release_sources
else
	write_own_sources
fi || fail "this machine's sources of packages name no archive of Debian"
write_apt_conf
apt update || true # one archive that fails is no harm: the next line decides
# dpkg-source checks the hashes against the .dsc, apt the .dsc against the signed index.
if (cd "$tmp/fetched" && apt source --only-source "$source"); then
	set -- "$tmp/fetched/$source"-*/
	mv "$1" "$dir"
else
	[ -n "$orig_will_do" ] && unpack_orig
fi
