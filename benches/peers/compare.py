"""Runs `advect bench` and bench_torch.py in turn (A B A B ...) and prints one Markdown table of the medians.

A ratio is the peer's milliseconds over advect's: above 1, advect is faster. Each cell is the median over the rounds.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

PEER = Path(__file__).with_name("bench_torch.py")


def run(command, threads=None):
    """The JSON that a benchmark prints, with the load average found just before it ran."""
    load = os.getloadavg()[0]
    environment = {**os.environ, "ADVECT_THREADS": str(threads)} if threads else None
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed with status {done.returncode}")
    try:
        return {**json.loads(done.stdout), "load_average": load}
    except json.JSONDecodeError as error:
        sys.exit(f"{' '.join(command)} printed no JSON ({error}): {done.stdout[:200]!r}")


def commands(args):
    advect = [args.advect] if args.advect else ["cargo", "run", "--release", "-q", "--"]
    workload = ["--workload", args.workload, "--batch", args.batch, "--solver", args.solver, "--json"]
    workload += ["--train"] if args.train else []
    peer = [sys.executable, str(PEER), *workload, "--device", args.peer_device, "--modes", args.modes]
    peer += ["--threads", str(args.threads)] if args.threads else []
    return [*advect, "bench", *workload, "--device", args.device], peer


def medians(runs):
    """{(what, batch, mode): the median of each number over the runs}; advect's mode is empty."""
    cells = defaultdict(list)
    for report in runs:
        for row in report["results"]:
            cells[row["what"], row["batch"], row.get("mode", "")].append(row)
    return {key: {name: median(row[name] for row in rows)
                  for name in ("p50_ms", "p99_ms", "min_ms", "chunks_per_s", "gflops")} for key, rows in cells.items()}


def table(advect, peer, modes):
    """One line per thing measured; a missing measurement is a dash."""
    def number(value):
        return f"{value:.3g}" if value < 1000 else f"{value:.0f}"

    header = ["what", "batch", "advect p50 ms", "p99 ms", "chunks/s", "GFLOP/s"]
    for mode in modes:
        header += [f"torch {mode} p50 ms", "p99 ms", "ratio"]
    lines = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for what, batch in sorted({key[:2] for key in advect | peer}):
        ours = advect.get((what, batch, ""))
        names = ("p50_ms", "p99_ms", "chunks_per_s", "gflops")
        cells = [what, str(batch), *(number(ours[name]) if ours else "-" for name in names)]
        for mode in modes:
            theirs = peer.get((what, batch, mode))
            cells += [number(theirs["p50_ms"]), number(theirs["p99_ms"])] if theirs else ["-", "-"]
            cells.append(f"{theirs['p50_ms'] / ours['p50_ms']:.2f}" if ours and theirs else "-")
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def loads(runs):
    return ", ".join(f"{report['load_average']:.1f}" for report in runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--advect", metavar="PATH", help="a built advect (cargo run --release if left out)")
    parser.add_argument("--workload", default="mlp256")
    parser.add_argument("--batch", default="1,64,1024,16384")
    parser.add_argument("--solver", default="euler:10")
    parser.add_argument("--device", default="cpu", help="advect's device")
    parser.add_argument("--peer-device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--modes", default="eager,compile", help="PyTorch modes")
    parser.add_argument("--threads", type=int, help="CPU threads of both (each one's own choice if left out)")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", metavar="FILE.json", help="write the medians and every run")
    args = parser.parse_args()

    if not args.advect:
        subprocess.run(["cargo", "build", "--release", "-q"], check=True)
    advect_command, peer_command = commands(args)
    advect_runs, peer_runs = [], []
    for _ in range(args.rounds):
        advect_runs.append(run(advect_command, args.threads))
        peer_runs.append(run(peer_command))

    advect, peer = medians(advect_runs), medians(peer_runs)
    text = table(advect, peer, args.modes.split(","))
    ours, theirs = advect_runs[0], peer_runs[0]
    versions = {**theirs["versions"], "system": f"{platform.system()} {platform.machine()}", "cpus": os.cpu_count()}
    print(f"{args.workload}, {args.solver}, {args.rounds} rounds; ratio = torch ms / advect ms (above 1: advect is faster)")
    print(f"advect on {ours['device']} ({ours['threads']} threads); torch {versions['torch']} on {theirs['device']} "
          f"({theirs['threads']} threads); Python {versions['python']}, {versions['system']}, {versions['cpus']} CPUs")
    print(f"load average before each run: advect {loads(advect_runs)}; torch {loads(peer_runs)}\n")
    print(text)
    if args.out:
        rows = [{"engine": engine, "what": what, "batch": batch, "mode": mode, **numbers}
                for engine, cells in (("advect", advect), ("torch", peer))
                for (what, batch, mode), numbers in cells.items()]
        report = {"workload": args.workload, "solver": args.solver, "rounds": args.rounds, "versions": versions,
                  "medians": rows, "runs": {"advect": advect_runs, "torch": peer_runs}}
        Path(args.out).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
