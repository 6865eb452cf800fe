"""torchcfm beside `advect compare`: the same training points, network, steps, batch and optimiser, judged by the same energy
distance to the same held-out points. Prints JSON.

    advect compare --task two-moons --methods cfm --steps 4000 --seeds 3 --out runs/moons
    python benches/peers/two_moons.py --run runs/moons --methods cfm,ot-cfm --seeds 3

The folder of the comparison has all of it: settings.json, train.npz and held_out.npz. Whether the points come from two-moons or
eight-gaussians makes no difference here; other tasks have observations and are refused.
"""
import argparse
import json
import pathlib
import platform
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=pathlib.Path, required=True, help="the folder of advect's comparison")
    parser.add_argument("--methods", default="cfm,ot-cfm")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = json.loads((args.run / "settings.json").read_text())
    config = settings["config"]
    archive = np.load(args.run / "train.npz")
    assert np.ptp(archive["obs"]) == 0 and archive["action"].shape[1] == 2, "needed points of the plane without observations"
    data, held_out = archive["action"], np.load(args.run / "held_out.npz")["action"]
    mean, deviation = data.mean(0, dtype=np.float64), data.std(0, dtype=np.float64) + 1e-6
    points = torch.tensor((data - mean) / deviation, dtype=torch.float32)

    results = []
    for method in args.methods.split(","):
        for seed in range(args.seeds):
            net, seconds = train(points, MATCHERS[method](sigma=0.0), config, seed)
            noise = torch.randn(len(held_out), 2, generator=torch.Generator().manual_seed(10_000 + seed))
            for nfe in NFES:
                found = sample(net, noise, nfe).double().numpy() * deviation + mean
                results.append({"method": method, "seed": seed, "nfe": nfe, "train_s": round(seconds, 2),
                                "energy_distance": energy_distance(found, held_out)})
    summary = []
    for method in args.methods.split(","):
        for nfe in NFES:
            values = [r["energy_distance"] for r in results if (r["method"], r["nfe"]) == (method, nfe)]
            average, error = mean_and_standard_error(values)
            summary.append({"method": method, "nfe": nfe, "energy_distance": average, "standard_error": error})
    print(json.dumps({"task": settings["task"], "steps": config["steps"], "torch": torch.__version__,
                      "processor": platform.processor() or platform.machine(), "threads": args.threads,
                      "summary": summary, "results": results}, indent=1))


if __name__ == "__main__":
    main()
