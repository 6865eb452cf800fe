#!/usr/bin/env python3
"""Writes tests/torch/training.safetensors: a short training run by PyTorch from advect's own draws.

    python tests/torch/training.py target/release/advect

PyTorch (float64) starts from the weights that advect starts from and is given the batches, times and noise that advect draws
(Philox4x32-10 and Box-Muller, written anew here), so after the same steps both must have the same weights: loss, gradients,
clipping, schedule, AdamW, weight decay and moving average, all at once. The settings make each of them matter.
Needs numpy, torch and safetensors.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch.nn import functional as F

HERE = pathlib.Path(__file__).resolve().parent
SEED, STEPS, BATCH, HIDDEN, EPISODES, LENGTH = 7, 60, 32, [24, 24], 6, 20
INDEX, TIME, NOISE = 0x10, 0x11, 0x12  # streams of src/objective/task.rs
OPTIMIZER = {"lr": 5e-3, "beta1": 0.95, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1, "clip": 0.5, "warmup": 10}
EMA = 0.9
CONFIG = f"""
steps = {STEPS}
seed = {SEED}
batch_size = {BATCH}
validation_fraction = 0.0
history = 1
horizon = 2
pad_after = 1
obs_normalizer = "identity"
action_normalizer = "identity"
optimizer = {{ lr = LR, beta1 = 0.95, beta2 = 0.999, eps = 1e-8, weight_decay = 0.1, clip = 0.5, warmup = 10, schedule = "cosine", ema = {{ kind = "constant", decay = {EMA} }} }}
network = {{ kind = "mlp", hidden = {HIDDEN}, activation = "silu", time = {{ kind = "sinusoidal", dim = 8, scale = 10.0, max_period = 100.0 }}, conditioning = "concat" }}
"""


def philox(counter, key):
    """Ten rounds for columns of four counters."""
    c, mask, shift = [x.astype(np.uint64) for x in counter], np.uint64(0xFFFFFFFF), np.uint64(32)
    k0, k1 = key
    for _ in range(10):
        p, q = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(q >> shift) ^ c[1] ^ np.uint64(k0), q & mask, (p >> shift) ^ c[3] ^ np.uint64(k1), p & mask]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, 1)


def integers(stream, step, n):
    blocks = np.arange((n + 3) // 4)
    none = np.zeros_like(blocks)
    return philox([blocks, none, none + step, none], (SEED, stream)).reshape(-1)[:n]


def uniforms(stream, step, n):
    return ((integers(stream, step, n) >> np.uint64(9)).astype(np.float64) + 0.5) * 2.0**-23


def normals(stream, step, n):
    u = uniforms(stream, step, (n + 3) // 4 * 4).reshape(-1, 2)
    radius, angle = np.sqrt(-2 * np.log(u[:, 0])), 2 * np.pi * u[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)[:n]


def network(weights):
    frequencies = torch.exp(torch.arange(4, dtype=torch.float64) * (-np.log(100.0) / 3))

    def velocity(x, t, obs):
        angles = t * 10.0 * frequencies
        h = torch.cat([x, angles.sin(), angles.cos(), obs], -1)
        for i in range(3):
            h = F.linear(F.silu(h) if i else h, weights[f"layers.{i}.weight"], weights[f"layers.{i}.bias"])
        return h

    return velocity


def main():
    rng = np.random.default_rng(0)
    rows = EPISODES * LENGTH
    obs = rng.normal(size=(rows, 3)).astype(np.float32)
    action = (np.sign(rng.normal(size=(rows, 1))) + 0.3 * obs[:, :2]).astype(np.float32)
    lengths = np.full(EPISODES, LENGTH)
    with tempfile.TemporaryDirectory() as folder:
        data, config, out = (pathlib.Path(folder) / name for name in ("data.npz", "run.toml", "policy.safetensors"))
        np.savez(data, obs=obs, action=action, episode_len=lengths)
        config.write_text(CONFIG.replace("LR", "1e-30"))  # a first step that goes nowhere
        subprocess.run([sys.argv[1], "train", "--data", data, "--config", config, "--steps", "1", "--out", out, "--device", "cpu"],
                       check=True, capture_output=True)
        start = {k: v for k, v in load_file(out).items() if not k.startswith("ema.")}
    # A window for every row: the action there and the next one of its episode, the last repeated.
    after = np.minimum(np.arange(rows) + 1, np.arange(rows) // LENGTH * LENGTH + LENGTH - 1)
    chunks = torch.tensor(np.concatenate([action, action[after]], 1), dtype=torch.float64)
    weights = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in start.items()}
    average = {k: v.detach().clone() for k, v in weights.items()}
    velocity, losses, norms = network(weights), [], []
    o = OPTIMIZER
    adam = torch.optim.AdamW(weights.values(), betas=(o["beta1"], o["beta2"]), eps=o["eps"], weight_decay=o["weight_decay"])
    for step in range(STEPS):
        warm = step / o["warmup"]
        cosine = 0.5 * (1 + np.cos(np.pi * (step - o["warmup"]) / (STEPS - o["warmup"])))
        adam.param_groups[0]["lr"] = o["lr"] * (warm if step < o["warmup"] else cosine)
        index = ((integers(INDEX, step, BATCH) * np.uint64(rows)) >> np.uint64(32)).astype(int)
        t = torch.tensor(uniforms(TIME, step, BATCH))[:, None]
        x0 = torch.tensor(normals(NOISE, step, BATCH * 4).reshape(BATCH, 4))
        x1, z = chunks[index], torch.tensor(obs[index], dtype=torch.float64)
        loss = F.mse_loss(velocity((1 - t) * x0 + t * x1, t, z), x1 - x0)
        adam.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(weights.values(), o["clip"])))
        adam.step()
        losses.append(float(loss.detach()))
        for k, v in weights.items():
            average[k] += (v.detach() - average[k]) * (1 - EMA)
    assert min(norms) < o["clip"] < max(norms), "clipping must act at some steps and not at others"
    tensors = {"obs": obs, "action": action, "losses": np.array(losses, np.float32)}
    for prefix, values in (("start", start), ("end", weights), ("ema", average)):
        for k, v in values.items():
            array = v if isinstance(v, np.ndarray) else v.detach().numpy()
            tensors[f"{prefix}.{k}"] = np.ascontiguousarray(array, np.float32)
    about = {"torch": torch.__version__, "config": CONFIG.replace("LR", str(o["lr"])).strip(), "length": json.dumps(LENGTH)}
    save_file(tensors, HERE / "training.safetensors", about)
    print(f"loss {losses[0]:.4f} to {losses[-1]:.4f}, gradient norms {min(norms):.2f} to {max(norms):.2f}")


if __name__ == "__main__":
    main()
