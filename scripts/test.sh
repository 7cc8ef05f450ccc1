#!/bin/bash
# test.sh lint|unit|e2e... - run tests that are built, and close with one line: N passed, N failed
#
# lint: make lint, as one test.
# unit: every program UNIT_DIR/test_* (default build/unit); cmocka prints TAP, one line a test. A program that
#       crashes, hangs, or runs fewer tests than it announced is one more failure, by its name.
# e2e:  test/e2e/run.py, which prints a line a test and totals of its own, added to ours.
#
# Exit status: 0 if nothing failed and something passed.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."

unit_dir=${UNIT_DIR:-build/unit}
unit_seconds=300
passed=0
failed=0
skipped=0

fail() {
	echo "FAIL $*"
	failed=$((failed + 1))
}

# ThreadSanitizer of gcc 12 and newer kernels disagree about address randomisation: where it can be switched
# off for one program, it is.
runner=(timeout --kill-after=5 "$unit_seconds")
case $unit_dir in
*thread*) ! setarch -R true 2>/dev/null || runner+=(setarch -R) ;;
esac

run_unit_program() {
	local name=${1##*/} log status=0 announced ok not_ok skip
	log=$unit_dir/$name.log
	(CMOCKA_MESSAGE_OUTPUT=TAP "${runner[@]}" "$1" || exit $?) >"$log" 2>&1 </dev/null || status=$?
	# cmocka 1.1.5 says "not ok N # SKIP name" of a skipped test.
	skip=$(grep -cE '^(not )?ok [0-9]+ # SKIP' "$log" || true)
	ok=$(grep -E '^ok [0-9]+ ' "$log" | grep -vc '# SKIP' || true)
	not_ok=$(grep -E '^not ok ' "$log" | grep -vc '# SKIP' || true)
	announced=$(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
	passed=$((passed + ok))
	skipped=$((skipped + skip))
	failed=$((failed + not_ok))
	grep -E '^(not )?ok ' "$log" | sed "s/^not ok [0-9]* # SKIP \(.*\)/skip $name: \1/
		s/^ok [0-9]* # SKIP \(.*\)/skip $name: \1/; s/^not ok [0-9]* *-* *\(.*\)/FAIL $name: \1/
		s/^ok [0-9]* - \(.*\)/ok $name: \1/"
	case $status in
	124) fail "$name: not done after $unit_seconds s" ;;
	*)
		if [ "$status" -gt 128 ]; then
			fail "$name: ended by signal $((status - 128))"
		elif [ $((ok + not_ok + skip)) -lt "$announced" ] || [ "$announced" -eq 0 ]; then
			fail "$name: $((ok + not_ok + skip)) of $announced tests ran, exit status $status"
		elif [ "$status" -ne 0 ] && [ "$not_ok" -eq 0 ]; then
			fail "$name: exit status $status though no test failed"
		fi
		;;
	esac
	# What a failed program said, and what a sanitizer did, is for the reader.
	if [ "$status" -ne 0 ]; then
		sed -E '/^(ok |1\.\.|not ok [0-9]+ # SKIP)/d; s/^/    /' "$log" | head -n 60
	fi
}

run_unit() {
	local program found=
	for program in "$unit_dir"/test_*; do
		# one whose source is gone is left over from an older build
		if [ -f "$program" ] && [ -x "$program" ] && [ -n "$(find test/unit -name "${program##*/}.c")" ]; then
			found=1
			run_unit_program "$program"
		fi
	done
	[ -n "$found" ] || fail "unit: no test program in $unit_dir; make unit builds them"
}

run_lint() {
	local log=build/lint.log
	if env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make lint >"$log" 2>&1 </dev/null; then
		passed=$((passed + 1))
		echo "ok lint"
	else
		fail "lint: make lint says:"
		sed 's/^/    /' "$log" | tail -n 60
	fi
}

run_e2e() {
	local log=build/e2e.log totals status=0 p f s
	mkdir -p build
	set +e
	/usr/bin/python3 test/e2e/run.py 2>&1 </dev/null | tee "$log" |
		sed -u -E 's/^([0-9]+ passed, [0-9]+ failed)/e2e: \1/'
	status=${PIPESTATUS[0]}
	set -e
	totals=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
	p=$(sed -n 's/^\([0-9]*\) passed.*/\1/p' <<<"$totals")
	f=$(sed -n 's/.* \([0-9]*\) failed.*/\1/p' <<<"$totals")
	s=$(sed -n 's/.* \([0-9]*\) skipped.*/\1/p' <<<"$totals")
	passed=$((passed + ${p:-0}))
	failed=$((failed + ${f:-0}))
	skipped=$((skipped + ${s:-0}))
	if [ -z "$totals" ]; then
		fail "e2e: run.py ended without its totals, exit status $status"
	elif [ "$status" -ne 0 ] && [ "${f:-0}" -eq 0 ]; then
		fail "e2e: run.py's exit status is $status though no test failed"
	fi
}

[ $# -gt 0 ] || set -- unit e2e
for kind; do
	case $kind in
	lint) run_lint ;;
	unit) run_unit ;;
	e2e) run_e2e ;;
	*) fail "test.sh: unknown kind of tests '$kind'; there are lint, unit and e2e" ;;
	esac
done

totals="$passed passed, $failed failed"
[ "$skipped" -eq 0 ] || totals="$totals, $skipped skipped"
echo "$totals"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
