"""Every peer in one run: the same weights and inputs, outputs compared, turns interleaved. Started by run.sh.

For each workload and size all peers prepare one after another and write what they sample, which is compared with eager
PyTorch's. Then they take turns, first to last and back, each for a fraction of a second while the others wait. A cell is the median
over the rounds of the median of a turn; a ratio is a peer's milliseconds over advect's: above 1, advect is faster.
"""
import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median

import numpy as np
from safetensors.numpy import load_file

import report
from process import Died, Process

HERE = Path(__file__).parent
WORKLOADS = ("mlp256", "mlp512", "unet1d", "transformer")
BATCHES = (1, 64, 1024, 16384, 65536)
TRAIN_BATCH, STEPS = 256, 10
# Numbers that one chunk keeps alive in the widest part of a network, with what its convolutions unfold to: rather too many.
NUMBERS_PER_CHUNK = {"mlp256": 2_000, "mlp512": 4_000, "unet1d": 150_000, "transformer": 150_000}
TOLERANCE = 1e-3  # relative L2 difference from eager PyTorch
PREPARE_SECONDS, MOST_DEATHS = 900, 2
LEAST_ROUNDS, HEAVY_SECONDS = 3, 6.0  # more rounds than these only while a peer's turns at one size took less than that


@dataclass
class Peer:
    name: str
    device: str  # cpu or gpu
    command: list
    environment: dict = field(default_factory=dict)
    targets: tuple = ()  # the runs that it is part of unless named
    compiles: bool = False  # whether its first run of a size may take minutes that say nothing of the next


def peers(build, threads, target):
    """All there are, in the order of the tables."""
    python, own = sys.executable, {"RAYON_NUM_THREADS": str(threads)}

    def script(name, *words):
        return [python, str(HERE / name), *words]

    webgpu = {"PYTHONPATH": str(build / "ort-webgpu")}
    # Compiled code has the number of threads in it.
    torch = {"TORCHINDUCTOR_CACHE_DIR": str(build / f"inductor-{threads}")}
    return [
        Peer("advect", target, [str(build / "bin/advect")], targets=("cpu", "gpu")),
        Peer("torch-eager", target, script("peer_torch.py", "--mode", "eager"), torch, ("cpu", "gpu")),
        Peer("torch-compile", target, script("peer_torch.py", "--mode", "compile"), torch, ("cpu", "gpu"), compiles=True),
        Peer("torch-cudagraph", "gpu", script("peer_torch.py", "--mode", "cudagraph"), torch, ("gpu",), compiles=True),
        Peer("onnxruntime", "cpu", script("peer_ort.py"), targets=("cpu",)),
        Peer("onnxruntime-webgpu", "gpu", script("peer_ort.py"), webgpu, ("gpu",), compiles=True),
        Peer("burn-flex", "cpu", [str(build / "bin/burn-flex")], own, ("cpu",)),
        Peer("burn-wgpu", "gpu", [str(build / "bin/burn-wgpu")], own, ("gpu",), compiles=True),
        Peer("meganeura", "gpu", [str(build / "bin/meganeura")], own, ("gpu",), compiles=True),
    ]


class Field:
    """The peers of one workload: their processes and what is known of them."""

    def __init__(self, args, workload, folder, facts):
        self.args, self.workload, self.folder, self.facts = args, workload, folder, facts
        self.processes, self.deaths, self.greetings = {}, {}, {}
        self.seen = {}  # peer -> (batch, ms) of its last sampling
        self.busiest = (0.0, "")  # the largest share of a processor that a waiting peer took, and which

    def process(self, peer):
        if peer.name not in self.processes:
            failed = self.args.build / "bin" / f"{peer.name}.failed"
            if failed.exists():
                raise Died(failed.read_text().strip())
            if not Path(peer.command[0]).exists():
                raise Died("not built")
            words = {"workload": self.workload, "device": peer.device, "threads": self.args.threads, "steps": STEPS,
                     "weights": self.folder / "weights.safetensors", "inputs": self.folder / "inputs.safetensors",
                     "outputs": self.folder}
            if peer.name.startswith("onnxruntime"):
                if "onnx_error" in self.facts:
                    raise Died(self.facts["onnx_error"])
                words["model"] = self.folder / "model.onnx"
            command = [*peer.command, *(str(w) for pair in words.items() for w in (f"--{pair[0]}", pair[1]))]
            started = Process(command, peer.environment, self.folder / f"{peer.name}.log")
            self.processes[peer.name] = started
            self.greetings[peer.name] = started.ask(None, PREPARE_SECONDS)
        return self.processes[peer.name]

    def ask(self, peer, text, timeout):
        """The reply, or {"error"}; a peer that died twice is not started again."""
        if len(self.deaths.get(peer.name, [])) >= MOST_DEATHS:
            return {"error": self.deaths[peer.name][-1]}
        try:
            return self.process(peer).ask(text, timeout)
        except Died as death:
            self.processes.pop(peer.name, None)
            self.deaths.setdefault(peer.name, []).append(str(death))
            return {"error": str(death)}

    def refused(self, peer, what, batch):
        """Why it is not even tried, or None; and the milliseconds that were predicted."""
        before, ms = self.seen.get(peer.name, (0, 0))
        # Below that a batch takes longer than its share. A training step is three evaluations, sampling one for each step.
        predicted = ms * batch / before if before >= 64 else None
        if predicted and what == "train":
            predicted *= 3 / STEPS
        if predicted and predicted > 1e3 * self.args.limit:
            return f"not run: predicted {predicted / 1e3:.0f} s a run, limit {self.args.limit:g} s", predicted
        if what == "train":
            return None, predicted
        needed, free = 4 * batch * NUMBERS_PER_CHUNK[self.workload], free_memory(peer.device)
        if free and needed > free:
            return f"not run: may need {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free", predicted
        return None, predicted

    def turn(self, peer):
        """Milliseconds of each run of a turn, while the others should wait."""
        def spent():
            return {name: p.processor_seconds() for name, p in self.processes.items() if name != peer.name}

        before, begun = spent(), time.monotonic()
        reply = self.ask(peer, f"go {self.args.seconds}", PREPARE_SECONDS)
        after, wall = spent(), time.monotonic() - begun
        for name, used in after.items():
            if wall > 0.2 and used is not None and before.get(name) is not None:
                self.busiest = max(self.busiest, ((used - before[name]) / wall, name))
        return reply

    def end(self):
        for process in self.processes.values():
            process.end()


def free_memory(device):
    """Bytes, or None where nothing says."""
    if device == "gpu":
        try:
            command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
            return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]) << 20
        except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
            pass
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def measure(arena, competitors, what, batch):
    """One size: a cell for each peer, {"peer", "workload", "what", "batch"} and either "reason" or times."""
    cells, outputs = {}, {}
    for peer in competitors:
        cell = cells[peer.name] = {"peer": peer.name, "workload": arena.workload, "what": what, "batch": batch}
        reason, predicted = arena.refused(peer, what, batch)
        if reason:
            cell["reason"] = reason
            if what == "sample":
                arena.seen[peer.name] = (batch, predicted or 0.0)
            continue
        patience = PREPARE_SECONDS if peer.compiles else min(10 + 4 * arena.args.limit, PREPARE_SECONDS)
        reply = arena.ask(peer, f"prepare {what} {batch}", patience)
        if "error" in reply:
            cell["reason"] = reply["error"]
            continue
        cell["prepare_seconds"] = reply["seconds"]
        if reply["output"]:
            outputs[peer.name] = load_file(reply["output"])["output"]
            os.remove(reply["output"])
    compare(cells, outputs)
    turns = {name: [] for name, cell in cells.items() if "reason" not in cell}
    for round_ in range(arena.args.rounds):
        for peer in competitors[:: -1 if round_ % 2 else 1]:
            so_far = turns.get(peer.name)
            if so_far is None or enough(so_far, arena.args.limit):
                continue
            reply = arena.turn(peer)
            if "error" in reply:
                cells[peer.name]["reason"] = reply["error"]
                del turns[peer.name]
            else:
                so_far.append(reply["ms"])
    for name, rounds in turns.items():
        medians = [median(ms) for ms in rounds]
        every = [t for ms in rounds for t in ms]
        cells[name] |= {"ms": median(medians), "min_ms": min(every), "runs": len(every), "round_ms": medians}
        if what == "sample":
            arena.seen[name] = (batch, cells[name]["ms"])
    for name, cell in cells.items():
        said = f"{cell['ms']:.4g} ms" if "ms" in cell else cell["reason"]
        print(f"  {what} {batch:6}  {name:18} {said}", file=sys.stderr, flush=True)
    return list(cells.values())


def enough(rounds, limit):
    """Whether a peer's turns at one size have told enough: one of a run beyond all predictions, a few of heavy work."""
    spent = sum(map(sum, rounds)) / 1e3
    return bool(rounds) and (max(rounds[0]) / 1e3 > 2 * limit or len(rounds) >= LEAST_ROUNDS and spent > HEAVY_SECONDS)


def compare(cells, outputs):
    """Relative L2 differences from eager PyTorch, or from the compiled one where only that ran."""
    reference = outputs.get("torch-eager", outputs.get("torch-compile"))
    if reference is None:
        return
    scale = np.linalg.norm(reference.astype(np.float64))
    for name, output in outputs.items():
        difference = float(np.linalg.norm(output.astype(np.float64) - reference) / scale)
        cells[name]["difference"] = difference if np.isfinite(difference) else None
        if not difference <= TOLERANCE:
            cells[name]["wrong"] = f"its output differs from eager PyTorch's by {difference:.2g} (relative L2)"


def run_workload(args, workload, competitors, record, save):
    with tempfile.TemporaryDirectory(prefix="peers-", dir=args.build) as folder:
        command = [sys.executable, str(HERE / "prepare.py"), "--workload", workload, "--batch", str(max(args.batches)),
                   "--steps", str(STEPS), "--out", folder]
        command += ["--onnx"] if any(p.name.startswith("onnxruntime") for p in competitors) else []
        subprocess.run(command, check=True, stderr=subprocess.PIPE)
        facts = json.loads(Path(folder, "facts.json").read_text())
        record["workloads"][workload] = facts
        arena = Field(args, workload, Path(folder), facts)
        sizes = [("sample", batch) for batch in sorted(args.batches)]
        sizes += [("train", TRAIN_BATCH)] if args.train else []
        try:
            for what, batch in sizes:
                record["cells"] += measure(arena, competitors, what, batch)
                for name, greeting in arena.greetings.items():
                    record["peers"].setdefault(name, {k: greeting[k] for k in ("version", "device")})
                share, name = arena.busiest
                if share > record["busiest_waiting"]["share"]:
                    record["busiest_waiting"] = {"share": share, "peer": name}
                save()
        finally:
            arena.end()


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def replaced(path, text):
    """Written whole or not at all."""
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(text)
    aside.replace(path)


def arguments():
    def names(known):
        def parse(text):
            chosen = text.split(",")
            if unknown := set(chosen) - set(known):
                raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: know {', '.join(known)}")
            return chosen
        return parse

    everyone = [p.name for p in peers(Path(), 1, "cpu")]
    parser = argparse.ArgumentParser(prog="benches/peers/run.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=("cpu", "gpu"), nargs="?", default="cpu")
    parser.add_argument("--workloads", type=names(WORKLOADS), default=list(WORKLOADS), metavar="A,B", help=", ".join(WORKLOADS))
    parser.add_argument("--batches", type=lambda text: [int(b) for b in text.split(",")], default=list(BATCHES), metavar="N,M",
                        help="of sampling (1,64,1024,16384,65536)")
    parser.add_argument("--peers", type=names(everyone), metavar="A,B",
                        help=f"{', '.join(everyone)} (those of the target if left out; advect is always there)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--seconds", type=float, default=0.3, metavar="S", help="length of a turn (at least one run)")
    parser.add_argument("--limit", type=float, default=8.0, metavar="S",
                        help="what is predicted to take longer for one run is not run")
    parser.add_argument("--all", action="store_true", help="no such limit")
    parser.add_argument("--no-train", dest="train", action="store_false", help="no training steps")
    parser.add_argument("--quick", action="store_true", help="2 short rounds of batches 1 and 64")
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser.add_argument("--threads", type=int, default=mine, metavar="N", help="CPU threads of each peer (all)")
    parser.add_argument("--out", type=Path, default=HERE.parent.parent / "docs/benchmarks", metavar="DIR")
    parser.add_argument("--build", type=Path, required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds, args.batches = 2, 0.05, [b for b in args.batches if b <= 64] or args.batches[:1]
    if args.all:
        args.limit = float("inf")
    args.build = args.build.resolve()
    # As it was typed: run.sh puts --build and its value before everything else.
    args.command = " ".join(["benches/peers/run.sh", *sys.argv[3:]])
    return args


def main():
    args = arguments()
    # Whoever ends the run ends the peers with it, and their folder goes too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    begun = time.monotonic()
    known = peers(args.build, args.threads, args.target)
    named = args.peers or [p.name for p in known if args.target in p.targets]
    chosen = [p for p in known if p.name in ("advect", *named)]
    record = {
        "date": date.today().isoformat(), "command": args.command, "target": args.target,
        "processor": processor(), "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}", "python": platform.python_version(),
        "threads": args.threads, "load_average_at_start": os.getloadavg()[0], "complete": False,
        "settings": {"solver": f"euler:{STEPS}", "rounds": args.rounds, "seconds": args.seconds,
                     "limit": None if args.all else args.limit, "train_batch": TRAIN_BATCH, "tolerance": TOLERANCE},
        "order": [p.name for p in chosen], "absent": [p.name for p in known if p not in chosen],
        "batches": sorted(args.batches), "train": args.train,
        "peers": {}, "workloads": {}, "busiest_waiting": {"share": 0.0, "peer": ""}, "cells": [],
    }
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / f"{record['date']}-peers-{args.target}"

    def save():
        record["seconds"] = time.monotonic() - begun
        replaced(stem.with_name(f"{stem.name}.json"), json.dumps(record, indent=1) + "\n")
        replaced(stem.with_name(f"{stem.name}.md"), report.page(record))

    for workload in args.workloads:
        print(f"{workload}, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        run_workload(args, workload, chosen, record, save)
    record["complete"], record["load_average_at_end"] = True, os.getloadavg()[0]
    save()
    print(report.page(record))
    print(f"{stem}.md and .json, {record['seconds']:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
