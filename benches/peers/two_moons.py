"""torchcfm beside `advect compare`: the same training points, network, steps, batch and optimiser, judged by the same energy
distance to the same held-out points, each seed's being the mean over as many draws of the noise as advect's. Prints a table in
Markdown: mean over the seeds of each, its standard error, and the ratio of the means. --json FILE keeps all numbers, and what it has
of the same task, steps and PyTorch is not trained again.

    advect compare --task two-moons --methods cfm,ot-cfm --steps 4000 --seeds 5 --out runs/moons
    python benches/peers/two_moons.py --run runs/moons --methods cfm,ot-cfm --seeds 5 --json runs/moons/torchcfm.json

The folder of the comparison has all of it: settings.json, train.npz, held_out.npz and compare.json. Whether the points come from
two-moons or eight-gaussians makes no difference here; other tasks have observations and are refused.
"""
import argparse
import json
import pathlib
import platform
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchcfm import ConditionalFlowMatcher, ExactOptimalTransportConditionalFlowMatcher

from energy import energy_distance, mean_and_standard_error
from flow import Ema

MATCHERS = {"cfm": ConditionalFlowMatcher, "ot-cfm": ExactOptimalTransportConditionalFlowMatcher}
NFES = (1, 2, 3, 5, 10, 20)
NOISE_DRAWS = 4  # NOISE_DRAWS of src/compare/evaluate.rs


class Net(nn.Module):
    """advect's mlp: linear layers with SiLU between, over concat(point, time embedding, constant observation)."""

    def __init__(self, network):
        super().__init__()
        time_input = network["time"]
        assert network["kind"] == "mlp" and network["activation"] == "silu" and time_input["kind"] == "sinusoidal"
        self.scale, half = time_input["scale"], time_input["dim"] // 2
        exponents = torch.arange(half) * (-np.log(time_input["max_period"]) / (half - 1))
        self.register_buffer("frequencies", torch.exp(exponents))
        widths = [2 + time_input["dim"] + 1, *network["hidden"], 2]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(widths, widths[1:]))

    def forward(self, x, t):
        angles = t[:, None] * self.scale * self.frequencies
        h = self.layers[0](torch.cat([x, angles.sin(), angles.cos(), torch.zeros_like(x[:, :1])], -1))
        for layer in self.layers[1:]:
            h = layer(F.silu(h))
        return h


def learning_rate(step, steps, optimizer):
    """advect's: linear warm-up, then a cosine to 0."""
    warmup = optimizer["warmup"]
    if step < warmup:
        return optimizer["lr"] * step / warmup
    if optimizer["schedule"] == "constant":
        return optimizer["lr"]
    part = (step - warmup) / max(1, steps - warmup)
    return optimizer["lr"] * 0.5 * (1 + np.cos(np.pi * part))


def train(points, matcher, config, seed):
    torch.manual_seed(seed)
    np.random.seed(seed)  # torchcfm draws from the transport plan with numpy
    net, o = Net(config["network"]), config["optimizer"]
    adam = torch.optim.AdamW(net.parameters(), lr=o["lr"], betas=(o["beta1"], o["beta2"]), eps=o["eps"],
                             weight_decay=o["weight_decay"])
    assert o["ema"]["kind"] == "constant"
    ema = Ema(net, o["ema"]["decay"])
    begin = time.perf_counter()
    for step in range(config["steps"]):
        for group in adam.param_groups:
            group["lr"] = learning_rate(step, config["steps"], o)
        x1 = points[torch.randint(len(points), (config["batch_size"],))]
        t, xt, ut = matcher.sample_location_and_conditional_flow(torch.randn_like(x1), x1)
        loss = F.mse_loss(net(xt, t), ut)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        if o["clip"] > 0:
            nn.utils.clip_grad_norm_(net.parameters(), o["clip"])
        adam.step()
        ema.update()
    seconds = time.perf_counter() - begin
    ema.copy_to(net)
    return net, seconds


@torch.inference_mode()
def sample(net, noise, steps):
    x = noise
    for k in range(steps):
        x = x + net(x, torch.full((len(x),), k / steps)) / steps
    return x


def summarise(results):
    """Mean and standard error over the seeds of each (method, evaluations), in the order of the results."""
    values = {}
    for r in results:
        values.setdefault((r["method"], r["nfe"]), []).append(r["energy_distance"])
    return {key: (*mean_and_standard_error(v), len(v)) for key, v in values.items()}


def ratio(a, b):
    """Ratio of two means with its standard error, by the first order of the quotient; the error is None if one of them has none."""
    (x, dx, _), (y, dy, _) = a, b
    return x / y, None if dx is None or dy is None else x / y * float(np.hypot(dx / x, dy / y))


def table(task, advect, torchcfm):
    """The table in Markdown, a line for each method and number of evaluations that both have."""
    def cell(value, error, digits=4):
        return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")

    lines = [f"| {task} | evaluations | advect | torchcfm | ratio |", "|---|---:|---:|---:|---:|"]
    for key in (k for k in torchcfm if k in advect):
        a, b = advect[key], torchcfm[key]
        lines.append(f"| {key[0]} ({a[2]} and {b[2]} seeds) | {key[1]} | {cell(*a[:2])} | {cell(*b[:2])} | {cell(*ratio(a, b), 2)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=pathlib.Path, required=True, help="the folder of advect's comparison")
    parser.add_argument("--methods", default="cfm,ot-cfm")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, help="where all numbers go")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = json.loads((args.run / "settings.json").read_text())
    compared = json.loads((args.run / "compare.json").read_text())
    config = settings["config"]
    archive = np.load(args.run / "train.npz")
    assert np.ptp(archive["obs"]) == 0 and archive["action"].shape[1] == 2, "needed points of the plane without observations"
    data, held_out = archive["action"], np.load(args.run / "held_out.npz")["action"]
    mean, deviation = data.mean(0, dtype=np.float64), data.std(0, dtype=np.float64) + 1e-6
    points = torch.tensor((data - mean) / deviation, dtype=torch.float32)

    about = {"task": settings["task"], "steps": config["steps"], "torch": torch.__version__, "noise_draws": NOISE_DRAWS}
    kept = json.loads(args.json.read_text()) if args.json and args.json.exists() else about
    assert about.items() <= kept.items(), f"{args.json} is of another comparison"
    results = []
    for method in args.methods.split(","):
        for seed in range(args.seeds):
            before = [r for r in kept.get("results", []) if (r["method"], r["seed"]) == (method, seed)]
            results += before
            if before:
                continue
            net, seconds = train(points, MATCHERS[method](sigma=0.0), config, seed)
            generator = torch.Generator().manual_seed(10_000 + seed)
            draws = [torch.randn(len(held_out), 2, generator=generator) for _ in range(NOISE_DRAWS)]
            for nfe in NFES:
                found = [sample(net, noise, nfe).double().numpy() * deviation + mean for noise in draws]
                distances = [energy_distance(x, held_out) for x in found]
                results.append({"method": method, "seed": seed, "nfe": nfe, "train_s": round(seconds, 2),
                                "energy_distance": float(np.mean(distances)),
                                "energy_distance_sd": float(np.std(distances, ddof=1))})
            print(f"{method} seed {seed}: {seconds:.0f} s", file=sys.stderr, flush=True)
    ours = summarise([r for r in compared["results"] if r["status"] == "ok"])
    theirs = summarise(results)
    print(table(settings["task"], ours, theirs))
    if args.json:
        others = [r for r in kept.get("results", []) if r not in results]
        keys = ("energy_distance", "standard_error", "seeds")
        summary = [{"method": m, "nfe": n, **dict(zip(keys, theirs[m, n])),
                    "advect": dict(zip(keys, ours[m, n])) if (m, n) in ours else None} for m, n in theirs]
        args.json.write_text(json.dumps({**about, "processor": platform.processor() or platform.machine(),
                                         "threads": args.threads, "summary": summary, "results": results + others}, indent=1) + "\n")


if __name__ == "__main__":
    main()
