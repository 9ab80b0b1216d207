#!/usr/bin/env bash
# Random queries over random tables, checked against recomputation after every change, for as long as one likes: see tests/oracle.
#
#   scripts/fuzz.sh [SECONDS]     ends after that time, or at the first difference; without it, only then (or by Ctrl-C)
#
# SEED=N begins there; SUITE=PATH is the suite's program, where it is built already. A failure prints its seed, and the smallest case that fails in the same way. Where PostgreSQL's server programs are there
# (POSTGRES_BIN says where), a throwaway cluster is asked the same; DATAFUSION_ONLY=1 does without.
set -euo pipefail

seconds=${1:-}
began=$(date +%s)
seed=${SEED:-$(($(date +%s) % 1000000 * 1000))}
cases=25
suite=${SUITE:-$(cargo test --release --locked --workspace --test suite --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\/suite-[^"]*\)".*/\1/p' | tail -n 1)}
if [ -z "$suite" ]; then
    echo "the suite doesn't build: cargo test --workspace --test suite --no-run says why" >&2
    exit 1
fi
cd "$(dirname "$0")/../tests"
work=$(mktemp -d /tmp/fuzz.XXXXXX)
bin=${POSTGRES_BIN:-$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)}
as_owner() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
finish() {
    [ ! -d "$work/data" ] || as_owner "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT
if [ -z "${DATAFUSION_ONLY:-}" ] && [ -x "$bin/initdb" ]; then
    [ "$(id -u)" != 0 ] || chown postgres "$work"
    as_owner "$bin/initdb" -D "$work/data" -U postgres -A trust --encoding=UTF8 --locale=C.UTF-8 --lc-collate=C --no-sync >/dev/null
    as_owner "$bin/pg_ctl" -D "$work/data" -w -l "$work/log" \
        -o "-c listen_addresses='' -c unix_socket_directories='$work' -c fsync=off -c timezone=UTC -c jit=off" start >/dev/null
    export MILLRACE_TEST_POSTGRES="host=$work user=postgres dbname=postgres"
    echo "asking $("$bin/postgres" --version) too"
else
    echo "asking DataFusion alone"
fi
log=$(mktemp)
trap 'rm -f "$log"; finish' EXIT
checked=0
while spent=$(($(date +%s) - began)) && { [ -z "$seconds" ] || [ "$spent" -lt "$seconds" ]; }; do
    echo "seed $seed: $checked cases agree so far, after $spent s"
    if ! MILLRACE_TEST_SEED=$seed MILLRACE_TEST_CASES=$cases "$suite" oracle::random >"$log" 2>&1; then
        cat "$log"
        echo "a difference, from seed $seed on: MILLRACE_TEST_SEED as printed above repeats it" >&2
        exit 1
    fi
    # Six groups of cases and two of twice as many, a thousand seeds apart.
    checked=$((checked + 10 * cases))
    seed=$((seed + 8000))
done
echo "$checked cases agree; of the last ones:"
grep -A 100 'all groups so far' "$log" | tail -n 20
