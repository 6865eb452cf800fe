"""Times PyTorch on the benchmark workloads of `advect bench`: sampling action chunks and training steps, in float32.

Modes: eager; compile (the whole solver loop, or the loss with its gradient, through torch.compile); cudagraph (the
compiled work captured once and replayed; CUDA only). Inputs and results stay on the device; a timing ends when the
device is idle. Sampling uses time embeddings made before timing starts.
"""
import argparse
import json
import math
import platform
import sys
import time
from pathlib import Path
from statistics import median

import torch

from flow import Ema, Mlp, cfm_loss, euler_sampler, operations
from transformer import Transformer
from unet import Unet1d

ACTION_DIM, OBS_DIM = 16 * 2, 20
# The condition's numbers, and the network for them.
WORKLOADS = {
    "mlp256": (OBS_DIM, lambda: Mlp(ACTION_DIM, OBS_DIM, 256)),
    "mlp512": (OBS_DIM, lambda: Mlp(ACTION_DIM, OBS_DIM, 512)),
    "unet1d": (2 * OBS_DIM, lambda: Unet1d(2, 16, 2 * OBS_DIM)),
    "transformer": (OBS_DIM, lambda: Transformer(16, 2, OBS_DIM)),
}
MODES = ("eager", "compile", "cudagraph")
TRAIN_BATCH, DATASET_PAIRS = 256, 65_536
LEARNING_RATE, BETAS, WEIGHT_DECAY, CLIP, EMA_DECAY = 1e-4, (0.95, 0.999), 1e-6, 1.0, 0.999
MIN_REPETITIONS, MAX_REPETITIONS, SECONDS = 5, 10_000, 2.0
WARM_UP_SECONDS = 0.3


def captured(work):
    """Records work() in a CUDA graph; the returned function replays it on the same tensors and returns the same result."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()

    def replay():
        graph.replay()
        return result

    return replay


def sampling(network, noise, obs, solver_steps, mode, whole_loop=True):
    """A function of no arguments that samples a chunk for each row of the noise. What is compiled is the whole solver loop, or
    the network alone: of a large one that is as fast, and compiles in a tenth of the time."""
    if mode != "eager" and not whole_loop:
        network = torch.compile(network, dynamic=False)
    sampler = euler_sampler(network, solver_steps, noise.device)
    if mode != "eager" and whole_loop:
        sampler = torch.compile(sampler, dynamic=False)

    @torch.inference_mode()
    def work():
        return sampler(noise, obs)

    return captured(work) if mode == "cudagraph" else work


def training(network, condition_dim, mode, device):
    """A function of no arguments that takes one optimiser step on a random batch of a resident data set."""
    actions = torch.randn(DATASET_PAIRS, ACTION_DIM, device=device)
    observations = torch.randn(DATASET_PAIRS, condition_dim, device=device)
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, BETAS, weight_decay=WEIGHT_DECAY, fused=True,
                                  capturable=mode == "cudagraph")
    parameters = list(network.parameters())
    ema = Ema(network, EMA_DECAY)

    def batch_loss(rows):
        return cfm_loss(network, actions[rows], observations[rows])

    if mode != "eager":
        batch_loss = torch.compile(batch_loss, dynamic=False)

    def work():
        rows = torch.randint(DATASET_PAIRS, (TRAIN_BATCH,), device=device)
        loss = batch_loss(rows)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimiser.step()
        ema.update()

    return captured(work) if mode == "cudagraph" else work


def timings(work, device):
    """Milliseconds of each repetition, sorted: at least MIN_REPETITIONS of them and about SECONDS in all."""
    synchronise = torch.cuda.synchronize if device == "cuda" else lambda: None

    def once():
        begun = time.perf_counter()
        work()
        synchronise()
        return time.perf_counter() - begun

    once()  # compiles
    warmed = once()
    while warmed < WARM_UP_SECONDS:
        warmed += once()
    taken = []
    while len(taken) < MIN_REPETITIONS or (sum(taken) < SECONDS and len(taken) < MAX_REPETITIONS):
        taken.append(once())
    return sorted(1e3 * t for t in taken)


def result(what, mode, batch, evals, flop, times):
    """flop: nominal operations of one repetition. evals_per_s counts network evaluations of one sample each."""
    p50 = median(times)
    return {"what": what, "mode": mode, "batch": batch, "p50_ms": p50,
            "p99_ms": times[math.ceil(0.99 * len(times)) - 1], "min_ms": times[0], "repetitions": len(times),
            "chunks_per_s": 1e3 * batch / p50, "evals_per_s": 1e3 * batch * evals / p50, "gflops": flop / p50 / 1e6}


def measure(args, progress):
    condition_dim, make = WORKLOADS[args.workload]
    for mode in args.modes:
        for batch in args.batch:
            torch.compiler.reset()
            network = make().to(args.device)
            noise, obs = (torch.randn(batch, n, device=args.device) for n in (ACTION_DIM, condition_dim))
            times = timings(sampling(network, noise, obs, args.solver, mode), args.device)
            flop = operations(network, condition_dim, ACTION_DIM, args.device) * batch * args.solver
            yield progress(result("sample", mode, batch, args.solver, flop, times))
        if args.train:
            torch.compiler.reset()
            network = make().to(args.device)
            times = timings(training(network, condition_dim, mode, args.device), args.device)
            flop = 3 * operations(network, condition_dim, ACTION_DIM, args.device) * TRAIN_BATCH
            yield progress(result("train", mode, TRAIN_BATCH, 1, flop, times))


def print_row(row):
    print(f"{row['what']:6} {row['mode']:9} {row['batch']:6} {row['p50_ms']:10.3f} {row['p99_ms']:10.3f} {row['min_ms']:10.3f} "
          f"{row['chunks_per_s']:12.0f} {row['gflops']:9.1f}", file=sys.stderr, flush=True)
    return row


def device_name(device):
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def euler_steps(text):
    name, _, steps = text.partition(":")
    if name != "euler" or not steps.isdigit() or int(steps) == 0:
        raise argparse.ArgumentTypeError(f"{text}: the peer knows euler:STEPS only")
    return int(steps)


def batches(text):
    return [int(batch) for batch in text.split(",")]


def modes(text):
    names = text.split(",")
    if unknown := set(names) - set(MODES):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: know {', '.join(MODES)}")
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=WORKLOADS, default="mlp256")
    parser.add_argument("--batch", type=batches, default="1,64,1024,16384")
    parser.add_argument("--solver", type=euler_steps, default="euler:10")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, help="CPU threads (PyTorch's own choice if left out)")
    parser.add_argument("--modes", type=modes, default="eager,compile")
    parser.add_argument("--train", action="store_true", help="also time training steps at batch 256")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout (the table goes to stderr)")
    args = parser.parse_args()
    if "cudagraph" in args.modes and args.device != "cuda":
        parser.error("mode cudagraph needs --device cuda")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch sees no CUDA device")
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    print(f"{'what':6} {'mode':9} {'batch':>6} {'p50 ms':>10} {'p99 ms':>10} {'min ms':>10} {'chunks/s':>12} {'GFLOP/s':>9}",
          file=sys.stderr)
    report = {
        "device": device_name(args.device), "workload": args.workload, "solver": f"euler:{args.solver}",
        "threads": torch.get_num_threads(), "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "results": list(measure(args, print_row)),
    }
    if args.json:
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
