#!/usr/bin/env bash
# Random queries over random tables, checked against recomputation after every change, for as long as one likes: see tests/oracle.
#
#   scripts/fuzz.sh [SECONDS]     ends after that time, or at the first difference; without it, only then (or by Ctrl-C)
#
# SEED=N begins there. A failure prints the seed that repeats it.
set -euo pipefail

seconds=${1:-}
began=$(date +%s)
seed=${SEED:-$(($(date +%s) % 1000000 * 1000))}
cases=25
suite=$(cargo test --release --locked --workspace --test suite --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\/suite-[^"]*\)".*/\1/p' | tail -n 1)
if [ -z "$suite" ]; then
    echo "the suite doesn't build: cargo test --workspace --test suite --no-run says why" >&2
    exit 1
fi
cd "$(dirname "$0")/../tests"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
checked=0
while spent=$(($(date +%s) - began)) && { [ -z "$seconds" ] || [ "$spent" -lt "$seconds" ]; }; do
    echo "seed $seed: $checked cases agree so far, after $spent s"
    if ! MILLRACE_TEST_SEED=$seed MILLRACE_TEST_CASES=$cases "$suite" oracle::random >"$log" 2>&1; then
        cat "$log"
        echo "a difference, from seed $seed on: MILLRACE_TEST_SEED as printed above repeats it" >&2
        exit 1
    fi
    # Six groups of cases, a thousand seeds apart.
    checked=$((checked + 6 * cases))
    seed=$((seed + 6000))
done
echo "$checked cases agree"
