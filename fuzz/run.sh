#!/usr/bin/env bash
# Every reader of advect on mutated inputs under a limit of memory: fuzz/run.sh [EXECUTIONS] [SEED]
# A panic, an abort or a reader that takes more than 2 GB fails it. Prints the executions of each target.
set -euo pipefail
cd "$(dirname "$0")"
executions="${1:-300000}" seed="${2:-1}"
cargo build --locked --release --quiet
target="${CARGO_TARGET_DIR:-target}"
# Backtraces of a panic cost memory of their own, and the input says it all.
export RUST_BACKTRACE=0
# shellcheck disable=SC3045
(ulimit -v 2097152 && "$target/release/fuzz" --executions "$executions" --seed "$seed")
