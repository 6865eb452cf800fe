#!/usr/bin/env bash
# Everything that docs/benchmarks asks of one device, the most telling first, into a folder:
#   benches/device.sh [--quick] [--peers] OUT
# --quick: one network, small batches and one run of each, to see that all works; --peers: then the comparison of benches/peers/run.sh gpu.
# A step that fails or takes too long is told, and the next one runs; the exit status is then 1. OUT/summary.md says how each ended.
# Environment:
#   ADVECT          the binary (built here by default)
#   STATISTICS      the binary of benches/driver_statistics.rs (built here with ADVECT; without it that step is left out)
#   ADVECT_DEVICE   the device (gpu)
#   STEP_SECONDS    the longest that a step may take (300)
set -uo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '/^set /d'; }

quick='' peers='' out=''
for word in "$@"; do
    case "$word" in
    --quick) quick=1 ;;
    --peers) peers=1 ;;
    -h | --help) usage && exit ;;
    -*) echo "unknown option $word" >&2 && usage >&2 && exit 2 ;;
    *) [ -z "$out" ] || { echo "one folder, not $out and $word" >&2 && exit 2; } && out="$word" ;;
    esac
done
[ -n "$out" ] || { usage >&2 && exit 2; }
mkdir -p "$out" || exit
out="$(cd "$out" && pwd)"

if [ -z "${ADVECT:-}" ]; then
    (cd "$root" && cargo build --locked --release) || exit
    ADVECT="${CARGO_TARGET_DIR:-$root/target}/release/advect"
    STATISTICS="$(cd "$root" && cargo build --locked --release --quiet --bench driver_statistics --message-format=json |
        sed -n 's/.*"executable":"\([^"]*driver_statistics[^"]*\)".*/\1/p')" || exit
fi
export ADVECT_DEVICE="${ADVECT_DEVICE:-gpu}"
# What is measured is what a tuned device does: the tuning and the compiled kernels of this run alone.
export ADVECT_CACHE_DIR="$out/cache"

if [ -n "$quick" ]; then
    networks=(mlp256) batches=1,64 large=1,4 pace=(--seconds 0.01 --solver euler:2) tune=(--seconds 0.001 --solver euler:2)
else
    networks=(mlp256 mlp512 unet1d transformer) batches=1,64,1024,16384,65536 large=1,64,1024,16384 pace=(--seconds 1) tune=()
fi
all="$(IFS=, && echo "${networks[*]}")"
printf '| step | seconds | ended |\n|---|---|---|\n' >"$out/summary.md"
failed=0

# step NAME SUFFIX COMMAND...: its output in NAME.SUFFIX, what it said in NAME.log.
step() {
    local name="$1" file="$out/$1.$2" begun=$SECONDS ended='well'
    shift 2
    timeout --kill-after=10 "${STEP_SECONDS:-300}" "$@" >"$file" 2>"$out/$name.log"
    local code=$?
    if [ $code -ne 0 ]; then
        ended="exit status $code: $(grep . "$out/$name.log" | tail -n 1 | tr '|' '/')"
        failed=1
    fi
    echo "| $name | $((SECONDS - begun)) | $ended |" | tee -a "$out/summary.md" >&2
}

bench() {
    local name="$1"
    shift
    step "$name" json "$ADVECT" bench --json "${pace[@]}" "$@"
}

step devices json "$ADVECT" devices --json
step selftest json "$ADVECT" selftest --json
# Not every driver tells (3).
[ -z "${STATISTICS:-}" ] || step statistics md bash -c '"$0" --may-spill || [ $? -eq 3 ]' "$STATISTICS"
for fusion in layers rows latency; do
    bench "guess-$fusion" --fusion "$fusion" --batch "$batches"
done
step tune json "$ADVECT" tune --json --train --workload "$all" --batch "$large" "${tune[@]}"
for network in "${networks[@]}"; do
    if [[ $network = mlp* ]]; then of="$batches"; else of="$large"; fi
    bench "sample-$network" --workload "$network" --batch "$of"
    bench "half-$network" --workload "$network" --batch "$of" --precision f16
done
bench latency --batch 1 --latency
for fusion in layers rows; do
    bench "train-$fusion" --batch 1 --train --fusion "$fusion"
done
bench roofline --roofline --train --workload "$all" --batch "$large" --plot "$out/roofline.svg"
if [ -n "$peers" ]; then
    STEP_SECONDS="${STEP_SECONDS:-3000}" step peers txt "$root/benches/peers/run.sh" gpu ${quick:+--quick} --out "$out"
fi
exit $failed
