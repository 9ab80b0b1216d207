#!/usr/bin/env bash
# Load on a real broker for some minutes, with SIGKILL at random moments: all totals must be right at the end, and neither memory nor open files grow.
#
#   scripts/soak.sh 30            half an hour; figures go to soak.csv, or to the file that a second argument names
#
# MILLRACE_TEST_SEED=N repeats the moments as far as the machine's timing allows. It needs Java 17 and Maven, as the Kafka suite does.
set -euo pipefail

minutes=${1:?how many minutes?}
log=$(realpath -m "${2:-soak.csv}")
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
export MILLRACE_TEST_SOAK=$minutes MILLRACE_TEST_SOAK_LOG=$log
suite=${MILLRACE_SUITE:-}
if [ -n "$suite" ]; then
    cd tests
    exec "$suite" kafka::soak --nocapture
fi
exec cargo test --release --locked --workspace --test suite -- kafka::soak --nocapture
