#!/bin/sh
# collect_profile.sh [-o OUT] [-s SECONDS] [URL] - save all profiles of one process, to send to a colleague.
#
#   URL      where it serves, default http://localhost:6060; unix:/path for a Unix socket
#   -o OUT   a folder, or a file named *.tar.gz or *.tgz; default pprof-<date>-<time>
#   -s N     seconds that the profiles over a time take, default 10
#
# Every profile goes into a file of its own, for go tool pprof FILE. What the process does not offer is
# named and skipped. Exit status 0: everything that is offered was saved.
#
# SPDX-License-Identifier: Apache-2.0
set -eu

fail() {
	echo "collect_profile: $*" >&2
	exit 1
}
usage() {
	fail "usage: collect_profile.sh [-o FOLDER|FILE.tar.gz] [-s SECONDS] [URL]"
}

out=pprof-$(date +%Y%m%d-%H%M%S)
seconds=10
while getopts o:s: option; do
	case $option in
	o) out=$OPTARG ;;
	s) seconds=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -le 1 ] || usage
case $seconds in
'' | 0 | *[!0-9]*) fail "-s wants a number of seconds above 0, not '$seconds'" ;;
esac
command -v curl >/dev/null || fail "curl is missing; install it with: apt-get install curl"

url=${1:-http://localhost:6060}
socket=
case $url in
unix:*)
	socket=${url#unix:}
	url=http://localhost
	;;
http://* | https://*) ;;
*) url=http://$url ;;
esac
url=${url%/}
url=${url%/debug/pprof}

fetch() { # PATH FILE; prints the status, 000 without an answer
	curl --silent --noproxy localhost,127.0.0.1,::1 ${socket:+--unix-socket "$socket"} \
		--max-time $((seconds + 60)) \
		--output "$2" --write-out '%{http_code}' "$url/debug/pprof/$1" || true
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP
name=$(basename "$out")
name=${name%.tar.gz}
name=${name%.tgz}
folder=$tmp/$name
mkdir "$folder"

status=$(fetch "" "$folder/index.html")
[ "$status" != 000 ] || fail "nobody answers at ${socket:-$url}; check the address, or that the program" \
	"runs under the library"

failed=0
saved=0
while read -r path file; do
	status=$(fetch "$path" "$folder/$file")
	case $status in
	200)
		saved=$((saved + 1))
		echo "saved    $file ($(wc -c <"$folder/$file") bytes)"
		continue
		;;
	404 | 501) echo "skipped  ${path%%\?*}: not offered ($status)" ;;
	*)
		failed=$((failed + 1))
		echo "failed   ${path%%\?*}: status $status, $(head -n 1 "$folder/$file" 2>/dev/null)"
		;;
	esac
	rm -f "$folder/$file"
done <<LIST
cmdline cmdline.txt
heap heap.pb.gz
allocs allocs.pb.gz
threadcreate threadcreate.pb.gz
goroutine goroutine.pb.gz
block block.pb.gz
mutex mutex.pb.gz
profile?seconds=$seconds profile.pb.gz
trace?seconds=$seconds trace.out
LIST

[ "$saved" -gt 0 ] || fail "nothing was saved from $url; is it a pprof endpoint?"
case $out in
*.tar.gz | *.tgz) tar -czf "$out" -C "$tmp" "$name" ;;
*) mkdir -p "$out" && cp "$folder"/* "$out/" ;;
esac
echo "$saved files in $out"
[ "$failed" -eq 0 ]
