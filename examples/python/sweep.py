#!/usr/bin/env python3
"""Trains and evaluates a grid of policies with the advect binary and gathers one table.

For each task, training seed and objective: `advect train`, then `advect serve` for each solver, and against it the
simulator's evaluation for each number of executed actions. Everything goes below --out, one folder a policy:

    OUT/TASK/OBJECTIVE-sSEED/   run.toml, policy.safetensors, metrics.jsonl, train.log, train.json (when complete),
                                serve.log, execute4-euler10.json, execute4-euler10.log, ...
    OUT/table.md, OUT/table.json

What is there is not done again, so a stopped sweep goes on where it was: an unfinished training by --resume.
"""
import argparse
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
OBJECTIVES = ("flow_matching", "behaviour_cloning")
LONG = ("soccer-v3", "stick-pull-v3", "shelf-place-v3", "pick-place-wall-v3", "peg-insert-side-v3",
        "peg-insert-side-v3-noisy")  # tasks that the short training does not saturate


@dataclasses.dataclass(frozen=True)
class Policy:
    """One training."""
    task: str
    data: pathlib.Path
    config: pathlib.Path
    steps: int
    objective: str
    seed: int

    def folder(self, out):
        return out / self.task / f"{self.objective}-s{self.seed}"

    def toml(self):
        """The run's settings. The objective comes first: what follows a table's header would belong to the table."""
        return f'objective = "{self.objective}"\n{self.config.read_text()}'


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One way to run a policy in the simulator."""
    execute: int
    solver: str

    def name(self):
        return f"execute{self.execute}-{self.solver.replace(':', '')}"


def pusht(args):
    """Push-T: execute 4 of 16 by ten Euler steps, and around it other lengths and numbers of steps."""
    data, config = args.data or HERE.parents[1] / "data/pusht.npz", args.config or HERE / "pusht.toml"
    middle = [Evaluation(4, "euler:10")]
    around = [Evaluation(8, "euler:10"), Evaluation(2, "euler:10"), Evaluation(4, "euler:1"), Evaluation(4, "euler:3")]
    for evaluations in (middle, around):  # the comparison first
        for seed in args.seeds:
            for objective in args.objectives:
                # a cloned policy integrates nothing: solvers do not matter to it
                own = [e for e in evaluations if objective == "flow_matching" or e.solver == "euler:10"]
                yield Policy("pusht", data, config, args.steps or 30_000, objective, seed), own


def metaworld(args):
    """Meta-World: every file of demonstrations in --data."""
    if not args.data:
        raise SystemExit("--data: the folder with the demonstrations, TASK.npz each")
    files = sorted(args.data.glob("*.npz"))
    if args.tasks:
        if unknown := set(args.tasks) - {f.stem for f in files}:
            raise SystemExit(f"--tasks: no {', '.join(sorted(unknown))} in {args.data}")
        files = [f for f in files if f.stem in args.tasks]
    for seed in args.seeds:
        for file in files:
            for objective in args.objectives:
                steps = args.steps or (32_000 if file.stem in LONG else 8_000)
                policy = Policy(file.stem, file, HERE / "metaworld.toml", steps, objective, seed)
                yield policy, [Evaluation(execute, "euler:10") for execute in args.execute]


def simulator(policy, args):
    """The evaluation's command line, but for what all have."""
    if policy.task == "pusht":
        return [HERE / "pusht_eval.py", "--episodes", args.episodes or 100]
    task = policy.task.removesuffix("-noisy")
    return [HERE / "metaworld_eval.py", "--task", task, "--demonstrations", policy.data, "--episodes", args.episodes or 50]


def run(command, log, stdin=None):
    """Runs a command with its output in a file."""
    with open(log, "a") as file:
        file.write(f"$ {' '.join(map(str, command))}\n")
        file.flush()
        code = subprocess.run(list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, stdin=stdin).returncode
    if code:
        raise SystemExit(f"{command[0]} ended with {code}; the end of {log}:\n{''.join(open(log).readlines()[-5:])}")


def train(policy, args):
    """Trains what is not trained yet; the checkpoint."""
    folder = policy.folder(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, config, done = folder / "policy.safetensors", folder / "run.toml", folder / "train.json"
    if config.exists() and config.read_text() != policy.toml():
        raise SystemExit(f"{config} has other settings than this sweep: take another --out, or remove {folder}")
    if done.exists():
        if (trained := json.loads(done.read_text())["steps"]) != policy.steps:
            raise SystemExit(f"{done}: trained {trained} steps, this sweep wants {policy.steps}: take another --out")
        return checkpoint
    config.write_text(policy.toml())
    command = [args.advect, "train", "--data", policy.data, "--out", checkpoint, "--device", args.device]
    if checkpoint.with_name(checkpoint.name + ".train").exists():
        command.append("--resume")
    else:
        command += ["--config", config, "--steps", policy.steps, "--seed", policy.seed]
    print(f"{policy.task} {policy.objective} seed {policy.seed}: training", flush=True)
    start = time.monotonic()
    run(command, folder / "train.log")
    facts = {"steps": policy.steps, "seconds": round(time.monotonic() - start, 1), "load": os.getloadavg()[0]}
    done.write_text(json.dumps(facts))
    return checkpoint


@contextlib.contextmanager
def server(checkpoint, solver, args):
    """A policy server on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [args.advect, "serve", checkpoint, "--port", port, "--solver", solver, "--device", args.device]
    log = checkpoint.with_name("serve.log")
    with open(log, "a") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while not healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start; the end of {log}:\n{''.join(open(log).readlines()[-5:])}")
            time.sleep(0.1)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def evaluate(policy, checkpoint, evaluations, args):
    """Runs the evaluations that have no results yet, one server for each solver."""
    folder = policy.folder(args.out)
    missing = [e for e in evaluations if not (folder / f"{e.name()}.json").exists()]
    for solver in sorted({e.solver for e in missing}):
        with server(checkpoint, solver, args) as port:
            for e in (e for e in missing if e.solver == solver):
                result = folder / f"{e.name()}.json"
                seeds = [] if args.seed0 is None else ["--seed0", args.seed0]
                run([args.python, *simulator(policy, args), *seeds, "--port", port, "--execute", e.execute,
                     "--workers", args.workers, "--json", result], folder / f"{e.name()}.log")
                summary = json.loads(result.read_text())["summary"]
                print(f"{policy.task} {policy.objective} seed {policy.seed} {e.name()}: success {summary['success']:.2f}",
                      flush=True)


def wilson(successes, n, z=1.959964):
    """As client.py has it; here without numpy."""
    p, z2n = successes / n, z * z / n
    middle, half = (p + z2n / 2) / (1 + z2n), z / (1 + z2n) * math.sqrt(p * (1 - p) / n + z2n / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def table(out):
    """Gathers every result below OUT: a row for each task, objective and way to run; the training seeds side by side."""
    groups = {}
    for file in sorted(out.glob("*/*/execute*.json")):
        objective, seed = file.parent.name.rsplit("-s", 1)
        key = (file.parent.parent.name, file.stem, objective)
        groups.setdefault(key, {})[int(seed)] = json.loads(file.read_text())["summary"]
    rows = []
    for (task, way, objective), seeds in sorted(groups.items()):
        n, successes = (sum(s[k] for s in seeds.values()) for k in ("episodes", "successes"))
        mean = next(k for k in ("best_coverage", "return") if k in next(iter(seeds.values())))
        execute, solver = way.removeprefix("execute").split("-", 1)
        rows.append({
            "task": task, "objective": objective, "execute": int(execute), "solver": solver,
            "success_by_seed": {seed: s["success"] for seed, s in sorted(seeds.items())},
            "episodes": n, "success": successes / n, "success_ci95": wilson(successes, n),
            mean: sum(s[mean] for s in seeds.values()) / len(seeds),
            "infer_ms_p50": max(s["infer_ms_p50"] for s in seeds.values()),
            "infer_ms_p99": max(s["infer_ms_p99"] for s in seeds.values()),
        })
    lines = ["| task | objective | execute | solver | success by training seed | pooled [95 % Wilson] | episodes | mean |",
             "|---|---|---:|---|---|---|---:|---|"]
    for r in rows:
        mean = next(k for k in ("best_coverage", "return") if k in r)
        by_seed = ", ".join(f"{s:.2f}" for s in r["success_by_seed"].values())
        low, high = r["success_ci95"]
        lines.append(f"| {r['task']} | {r['objective'].replace('_', ' ')} | {r['execute']} | {r['solver']} | {by_seed} | "
                     f"{r['success']:.3f} [{low:.3f}, {high:.3f}] | {r['episodes']} | "
                     f"{mean.replace('_', ' ')} {r[mean]:.3f} |")
    (out / "table.json").write_text(json.dumps(rows, indent=1))
    (out / "table.md").write_text("\n".join(lines) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    numbers, words = (lambda text: [int(n) for n in text.split(",")]), (lambda text: text.split(","))
    p.add_argument("grid", choices=("pusht", "metaworld"))
    p.add_argument("--out", type=pathlib.Path, required=True, help="folder of the results")
    p.add_argument("--data", type=pathlib.Path, help="pusht: the .npz; metaworld: the folder of TASK.npz")
    p.add_argument("--config", type=pathlib.Path, help="pusht: the run's settings, but for the objective [pusht.toml]")
    p.add_argument("--advect", type=pathlib.Path, default=HERE.parents[1] / "target/release/advect", help="the binary")
    p.add_argument("--python", default=sys.executable, help="interpreter that has the simulator")
    p.add_argument("--seeds", type=numbers, default=[0, 1, 2], help="training seeds")
    p.add_argument("--objectives", type=words, default=list(OBJECTIVES))
    p.add_argument("--tasks", type=words, help="metaworld: these only")
    p.add_argument("--execute", type=numbers, default=[4], help="metaworld: actions to execute of each chunk")
    p.add_argument("--steps", type=int, help="training steps [pusht 30,000; metaworld 8,000, hard tasks 32,000]")
    p.add_argument("--episodes", type=int, help="episodes of an evaluation [pusht 100; metaworld 50]")
    p.add_argument("--seed0", type=int, help="seed of an evaluation's first episode [the simulator's script says]")
    p.add_argument("--workers", type=int, default=2, help="simulators at once")
    p.add_argument("--device", default="cpu", help="of training and serving")
    p.add_argument("--train-only", action="store_true")
    p.add_argument("--table-only", action="store_true", help="only gather what is there")
    args = p.parse_args()
    if unknown := set(args.objectives) - set(OBJECTIVES):
        p.error(f"--objectives: {', '.join(sorted(unknown))}; there are {', '.join(OBJECTIVES)}")
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.table_only:
        for policy, evaluations in {"pusht": pusht, "metaworld": metaworld}[args.grid](args):
            checkpoint = train(policy, args)
            if not args.train_only:
                evaluate(policy, checkpoint, evaluations, args)
                table(args.out)
    if not args.train_only:
        table(args.out)
        print((args.out / "table.md").read_text(), end="")


if __name__ == "__main__":
    main()
