"""The Python peers' side of the protocol that README.md describes: commands on stdin, one line of JSON for each on stdout."""
import argparse
import json
import sys
import time
from pathlib import Path

from safetensors.numpy import load_file, save_file

WARM_UP_SECONDS, MOST_RUNS = 0.3, 10_000
LONG_SECONDS = 2.0  # a first run as long as this warms up enough


class Unable(Exception):
    """What a peer does not do; the text is its cell in the table."""


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("workload", "device", "weights", "inputs", "outputs", "model"):
        parser.add_argument(f"--{name}", required=name != "model")
    parser.add_argument("--mode", default="eager")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    return parser.parse_args()


def rows(args, batch):
    """Noise [batch, 32] and observations of the run."""
    inputs = load_file(args.inputs)
    return inputs["noise"][:batch], inputs["observation"][:batch]


def answer(reply):
    print(json.dumps(reply), flush=True)


def turn(work, seconds):
    """Milliseconds of each run: one at least, and new ones until the seconds are over."""
    ms, begun = [], time.perf_counter()
    while not ms or (time.perf_counter() - begun < seconds and len(ms) < MOST_RUNS):
        run = time.perf_counter()
        work()
        ms.append(1e3 * (time.perf_counter() - run))
    return ms


def serve(args, name, version, device, prepare):
    """prepare(what, batch) -> (work, output): work() is one run, over when the device is idle; output() is an array of the
    chunks, or output is None."""
    answer({"name": name, "version": version, "device": device})
    work = output = None
    for line in sys.stdin:
        try:
            match line.split():
                case ["prepare", what, batch]:
                    work = output = None  # the last one's memory is free before the next one takes its own
                    begun, path = time.perf_counter(), None
                    work, output = prepare(what, int(batch))
                    first = time.perf_counter()
                    work()
                    seconds, first = time.perf_counter() - begun, time.perf_counter() - first
                    if output:
                        path = str(Path(args.outputs, f"{name}-{args.workload}-{batch}.safetensors"))
                        save_file({"output": output()}, path)
                    if first < LONG_SECONDS:
                        turn(work, WARM_UP_SECONDS)
                    answer({"seconds": seconds, "output": path})
                case ["go", seconds] if work:
                    answer({"ms": turn(work, float(seconds))})
                case _:
                    answer({"error": f"unknown command, or nothing prepared: {line!r}"})
        except Unable as reason:
            answer({"error": str(reason)})
        except Exception as error:  # whatever a library raises is that peer's row in the table
            text = " ".join(str(error).split())
            short = text if len(text) <= 240 else f"... {text[-240:]}"  # the reason is at the end of a long message
            answer({"error": f"{type(error).__name__}: {short}"})
