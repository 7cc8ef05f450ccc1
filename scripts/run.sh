#!/bin/bash
# run.sh [COMMAND LINE] - what make run does, once all is built.
#
# Without a command: start build/programs/demo under the library, collect its profiles over HTTP and show
# them with go tool pprof; the demo is ended and its exit is waited for.
# With one (a shell command line): run it under the library, in the foreground. It gets our process: signals
# reach it and its exit status is ours. The library says on stderr where its profiles are.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
lib=$root/build/libpprofshim.so

fail() {
	echo "run: $*" >&2
	exit 1
}

[ -f "$lib" ] || fail "no $lib; run make first"
case $lib in
*[\ :]*) fail "the loader cannot preload from a path with a space or a colon; move $root elsewhere" ;;
esac
export LD_PRELOAD_OF_RUN="$lib${LD_PRELOAD:+:$LD_PRELOAD}"

if [ $# -gt 0 ]; then
	# The shell itself runs without the library (it would take the port first), and replaces itself by the
	# last command. What make put into the environment is not the program's business.
	unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL CMD
	export PPROF_LOG=${PPROF_LOG-info}
	exec bash -c "export LD_PRELOAD=\$LD_PRELOAD_OF_RUN; unset LD_PRELOAD_OF_RUN; $*"
fi

demo=$root/build/programs/demo
demo_seconds=60
profiles="heap allocs profile threadcreate"
declare -A query=([profile]="?seconds=3")
declare -A to_see=( # in each; test/programs/demo.c is the truth
	[heap]="session_cache_leak is the leak: it grows by 1 MB a second. order_book_grow holds more, and stays so."
	[allocs]="request_parse and report_render allocate most, and hold next to nothing."
	[profile]="The time goes to request_parse, in three threads."
	[threadcreate]="main created 4 threads: three workers and a reporter."
)

[ -x "$demo" ] || fail "no $demo; run make programs first"
command -v curl >/dev/null || fail "curl is missing; install it with: apt-get install curl"
command -v go >/dev/null || fail "go is missing; install it with: apt-get install golang-go"

port_is_free() {
	! (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}
free_port() {
	local port
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		port=$((20000 + RANDOM % 12000))
		! port_is_free $port || break
	done
	echo $port
}

addr=${PPROF_ADDR:-127.0.0.1:$(free_port)}
curl=(curl --silent --show-error --fail --noproxy '*' --max-time 20)
case $addr in
off) fail "PPROF_ADDR=off serves no profiles; unset it" ;;
unix:*) curl+=(--unix-socket "${addr#unix:}") url=http://localhost ;;
:*) url=http://127.0.0.1$addr ;;
*) url=http://$addr ;;
esac

tmp=$(mktemp -d)
pid=
finish() {
	if [ -n "$pid" ]; then
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	fi
	rm -rf "$tmp"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

DISABLE_PPROF='' PPROF_ADDR=$addr LD_PRELOAD=$LD_PRELOAD_OF_RUN "$demo" "$demo_seconds" >"$tmp/demo.log" 2>&1 &
pid=$!

# It answers when its cmdline is the demo's: somebody else may sit on the port.
answers() {
	"${curl[@]}" "$url/debug/pprof/cmdline" 2>/dev/null | tr '\0' '\n' | grep -qxF "$demo"
}
for _ in {1..100}; do
	! answers || break
	if ! kill -0 "$pid" 2>/dev/null; then
		cat "$tmp/demo.log" >&2
		fail "the demo ended before it could be asked; its output is above"
	fi
	sleep 0.1
done
answers || fail "the demo's profiles do not answer at $url/debug/pprof/; try another PPROF_ADDR=host:port"

echo "run: $demo runs under libpprofshim.so (pid $pid), its profiles are at $url/debug/pprof/"
sleep 3 # of work and leaks, so that there is something to see
for name in $profiles; do
	"${curl[@]}" -o "$tmp/$name.pb.gz" "$url/debug/pprof/$name${query[$name]-}" ||
		fail "$url/debug/pprof/$name could not be fetched, curl says why"
done
"${curl[@]}" -o "$tmp/dump" "$url/debug/pprof/goroutine?debug=2" ||
	fail "$url/debug/pprof/goroutine?debug=2 could not be fetched, curl says why"
status=0
for name in $profiles; do
	printf '\n# %s\n' "${to_see[$name]}"
	printf '$ go tool pprof -top %s/debug/pprof/%s%s\n' "$url" "$name" "${query[$name]-}"
	(cd "$tmp" && go tool pprof -top -nodecount=12 "$name.pb.gz") || status=1
done
printf '\n# Where every thread stands, and what it waits for; these are the first lines.\n'
printf "$ curl '%s/debug/pprof/goroutine?debug=2'\n" "$url"
head -n 24 "$tmp/dump"
[ $status -eq 0 ] || fail "go tool pprof did not accept a profile, it says above why"
kill -0 "$pid" 2>/dev/null || fail "the demo ended before its time: $(tail -n 1 "$tmp/demo.log")"
echo
echo "run: done, the demo was ended; next: make run CMD=\"your-program --its-options\""
