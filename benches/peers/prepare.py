"""What all peers of one workload share: weights, the inputs of the largest batch, and the ONNX graph. Written to a folder.

Apart from the driver, so that PyTorch is not in its memory while others are timed.
"""
import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

import weights
from bench_torch import ACTION_DIM, WORKLOADS
from flow import euler_sampler, operations


class Loop(nn.Module):
    """All Euler steps."""

    def __init__(self, network, steps):
        super().__init__()
        self.network, self.sampler = network, euler_sampler(network, steps)

    def forward(self, noise, observation):
        return self.sampler(noise, observation)


class Step(nn.Module):
    """One Euler step, given its time's embedding [1, time]."""

    def __init__(self, network, steps):
        super().__init__()
        self.network, self.steps = network, steps

    def forward(self, noise, embedding, observation):
        return noise + self.network(noise, embedding.expand(noise.shape[0], -1), observation) / self.steps


def export(network, workload, condition_dim, steps, path):
    noise, observation = torch.randn(2, ACTION_DIM), torch.randn(2, condition_dim)
    names, inputs, module = ["noise", "observation"], (noise, observation), Loop
    if not workload.startswith("mlp"):
        names, inputs, module = ["noise", "embedding", "observation"], (noise, torch.randn(1, network.time_dim), observation), Step
    # Exported without gradients, in inference mode's absence: the exporter traces plain tensors.
    with torch.no_grad():
        torch.onnx.export(module(network, steps).eval(), inputs, str(path), input_names=names, output_names=["output"],
                          opset_version=18, dynamo=False,
                          dynamic_axes={name: {0: "batch"} for name in [*names, "output"] if name != "embedding"})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", required=True, choices=WORKLOADS)
    parser.add_argument("--batch", type=int, required=True, help="the largest")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--onnx", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    condition_dim, make = WORKLOADS[args.workload]
    network = make()
    weights.randomise(network, args.seed)
    weights.save(network, args.workload, args.out / "weights.safetensors")
    save_file({"noise": torch.randn(args.batch, ACTION_DIM), "observation": torch.randn(args.batch, condition_dim)},
              args.out / "inputs.safetensors")
    facts = {"parameters": sum(p.numel() for p in network.parameters()),
             "operations": operations(network, condition_dim, ACTION_DIM)}
    if args.onnx:
        try:
            export(network, args.workload, condition_dim, args.steps, args.out / "model.onnx")
        except Exception as error:  # the exporter's failure is ONNX Runtime's row
            facts["onnx_error"] = f"export: {type(error).__name__}: {error}"
    (args.out / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
