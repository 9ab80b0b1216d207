#!/usr/bin/env bash
# A whole engine in a simulated world, seed after seed, with a line of progress each second: see engine/src/coordinator/simulation.
#
#   SECONDS_=600 scripts/simulate.sh     ends after that time; without it only at a failure, or by Ctrl-C
#
# SEED=N begins there, COUNT=N ends after so many seeds, JOBS=N uses so many threads, MILLRACE_TRACE=1 prints what happened.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
tests=$(cargo test --release --locked --workspace --lib --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\/engine-[^"]*\)".*/\1/p' | tail -n 1)
if [ -z "$tests" ]; then
    echo "the engine's tests don't build: cargo test --workspace --lib --no-run says why" >&2
    exit 1
fi
cd engine
SIMULATE=1 SIMULATE_SECONDS=${SECONDS_:-} exec "$tests" --exact coordinator::simulation::tests::for_as_long_as_told --nocapture
