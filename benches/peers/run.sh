#!/usr/bin/env bash
# Compares advect with its peers in one run, see README.md:
#   benches/peers/run.sh [cpu|gpu] [--quick] [--workloads A,B] [--batches N,M] [--peers A,B] [--rounds N] [--out DIR] [--help]
# Environment:
#   PEERS_BUILD     where everything is built (target/peers)
#   PEERS_VENV      a Python environment, made where there is none (PEERS_BUILD/venv)
#   PEERS_NO_BUILD  if set, nothing is installed or built: PEERS_BUILD/bin must be filled already
#   PEERS_PYTHON    an interpreter that has the packages, instead of an environment
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../.." && pwd)"
build="${PEERS_BUILD:-$root/target/peers}"
mkdir -p "$build/bin"
build="$(cd "$build" && pwd)"
venv="${PEERS_VENV:-$build/venv}"
python="${PEERS_PYTHON:-$venv/bin/python}"

target=cpu chosen='' previous=''
for word in "$@"; do
    case "$word" in
    cpu | gpu) target="$word" ;;
    --peers=*) chosen="${word#--peers=}" ;;
    -h | --help)
        # Every option is told by the driver, which needs the environment.
        if command -v "$python" >/dev/null; then exec "$python" "$here/peers.py" --build "$build" --help; fi
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
        exit
        ;;
    esac
    [ "$previous" != --peers ] || chosen="$word"
    previous="$word"
done
if [ -z "$chosen" ]; then
    case "$target" in
    cpu) chosen=burn-flex ;;
    gpu) chosen=onnxruntime-webgpu,burn-wgpu,meganeura ;;
    esac
fi

wanted() { [[ ",$chosen," == *",$1,"* ]]; }

# attempt NAME COMMAND...: what fails is a row of the table, with the last line that it said.
attempt() {
    local name="$1" log="$build/$1.log"
    shift
    rm -f "$build/bin/$name.failed"
    echo "building $name ($log)" >&2
    "$@" >"$log" 2>&1 || echo "could not be built: $(grep . "$log" | tail -n 1)" >"$build/bin/$name.failed"
}

# rust PEER FOLDER OPTION...: a project of its own.
rust() {
    local name="$1" folder="$2"
    shift 2
    (cd "$here/$folder" && CARGO_TARGET_DIR="$build/rust" cargo build --locked --release "$@") &&
        cp -f "$build/rust/release/peer-$folder" "$build/bin/$name"
}

# A benchmark's executable has a hash in its name, which cargo's messages say; they tell of the binary advect too.
advect() {
    local made
    made="$(cd "$root" && cargo build --locked --release --bench peer --message-format=json-render-diagnostics |
        sed -n '/"name":"peer"/s/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)"
    [ -n "$made" ] && cp -f "$made" "$build/bin/advect"
}

if [ -z "${PEERS_NO_BUILD:-}" ]; then
    if [ -z "${PEERS_PYTHON:-}" ]; then
        [ -x "$python" ] || python3 -m venv "$venv"
        "$python" -c 'import torch, numpy, safetensors, onnx, onnxruntime' 2>/dev/null ||
            "$python" -m pip install --quiet -r "$here/requirements-run.txt"
    fi
    advect
    ! wanted burn-flex || attempt burn-flex rust burn-flex burn
    ! wanted burn-wgpu || attempt burn-wgpu rust burn-wgpu burn --no-default-features --features wgpu
    ! wanted meganeura || attempt meganeura rust meganeura meganeura
    # A folder of its own: the wheel's module is called onnxruntime too.
    if wanted onnxruntime-webgpu && [ ! -d "$build/ort-webgpu" ]; then
        attempt onnxruntime-webgpu "$python" -m pip install --quiet --no-deps --target "$build/ort-webgpu" onnxruntime-webgpu==1.27.0
    fi
fi
exec "$python" "$here/peers.py" --build "$build" "$@"
