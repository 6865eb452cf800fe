#!/usr/bin/env python3
"""Writes the import tests' fixture with the real lerobot: small diffusion policies with random weights, as 0.4 saves them, and
what they compute.

    diffusion/   state and environment state, MIN_MAX, FiLM with scale
    shift/       state and environment state, MEAN_STD, FiLM with a shift only, one observation step
Each has reference.safetensors: raw observations, normalised ones, a noisy chunk, its steps, the U-Net's output, and a
normalised chunk with its value in physical units.

usage: make_checkpoints.py OUT_DIR
needs: lerobot==0.4.4
"""
import json
import sys
from pathlib import Path

import torch
from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.policies.factory import make_pre_post_processors
from safetensors.torch import save_file

STATE, ENVIRONMENT, ACTION = "observation.state", "observation.environment_state", "action"


def statistics(dim):
    low = torch.randn(dim)
    return {"min": low, "max": low + 0.5 + torch.rand(dim), "mean": torch.randn(dim), "std": 0.5 + torch.rand(dim)}


def write(folder, seed, **settings):
    torch.manual_seed(seed)
    features = {STATE: PolicyFeature(FeatureType.STATE, (3,)), ENVIRONMENT: PolicyFeature(FeatureType.ENV, (2,))}
    config = DiffusionConfig(input_features=features, output_features={ACTION: PolicyFeature(FeatureType.ACTION, (2,))},
                             diffusion_step_embed_dim=8, n_groups=4, n_action_steps=4, horizon=8, device="cpu",
                             push_to_hub=False, **settings)
    policy = DiffusionPolicy(config).eval()
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.1 * torch.randn_like(p))  # norms' weights and biases are not random at the start
    stats = {STATE: statistics(3), ENVIRONMENT: statistics(2), ACTION: statistics(2)}
    if config.normalization_mapping["STATE"] == NormalizationMode.MIN_MAX:
        stats[STATE]["max"][1] = stats[STATE]["min"][1]  # a dimension that never changed
    before, after = make_pre_post_processors(config, dataset_stats=stats)
    for part in (policy, before, after):
        part.save_pretrained(folder)
    # The draccus that lerobot pins writes the policy's type; newer ones leave it out.
    path = folder / "config.json"
    path.write_text(json.dumps({"type": "diffusion", **json.loads(path.read_text())}, indent=4))

    rows, history = 3, config.n_obs_steps
    state, environment = torch.randn(rows, history, 3), torch.randn(rows, history, 2)
    state[..., 1] = stats[STATE]["min"][1]
    normal = before({STATE: state.flatten(0, 1), ENVIRONMENT: environment.flatten(0, 1)})
    batch = {k: normal[k].unflatten(0, (rows, history)) for k in (STATE, ENVIRONMENT)}
    x, step = torch.randn(rows, config.horizon, 2), torch.tensor([0, 17, 99])
    chunk = torch.rand(rows, config.horizon, 2) * 2 - 1
    with torch.no_grad():
        condition = policy.diffusion._prepare_global_conditioning(batch)
        out = policy.diffusion.unet(x, step, global_cond=condition)
    tensors = {"obs": torch.cat([state, environment], -1), "normal": condition, "x": x, "step": step.float(), "out": out,
               "chunk": chunk, "physical": after(chunk)}
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "reference.safetensors")


def main():
    folder = Path(sys.argv[1])
    write(folder / "diffusion", 1, down_dims=(8, 16), n_obs_steps=2)
    modes = {kind: NormalizationMode.MEAN_STD for kind in ("STATE", "ENV", "ACTION")}
    write(folder / "shift", 2, down_dims=(8, 12), n_obs_steps=1, use_film_scale_modulation=False,
          normalization_mapping=modes, prediction_type="sample", noise_scheduler_type="DDIM", num_inference_steps=10)


main()
