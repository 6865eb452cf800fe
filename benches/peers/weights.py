"""One set of weights for every peer: PyTorch's parameters under the names that advect's checkpoints have."""
import torch
from safetensors.torch import load_file, save_file

# Beginnings and parts of PyTorch's names and what advect calls them; applied in this order.
NAMES = {
    "unet1d": [("step_encoder.2.", "diffusion_step_encoder.3."), ("step_encoder.0.", "diffusion_step_encoder.1."),
               ("down.", "down_modules."), ("middle.", "mid_modules."), ("up.", "up_modules."),
               (".conv1.", ".conv1.block."), (".conv2.", ".conv2.block."), (".film.", ".cond_encoder."),
               (".residual.", ".residual_conv."), ("final.0.", "final_conv.0.block."), ("final.1.", "final_conv.1.")],
    "transformer": [("input.", "input_proj."), ("time.", "time_mlp."), ("observation.", "observation_proj."),
                    (".qkv.weight", ".attn.in_proj_weight"), (".qkv.bias", ".attn.in_proj_bias"), (".out.", ".attn.out_proj."),
                    (".adaptive.", ".adaLN_modulation.1."), ("adaptive.", "final_layer.adaLN_modulation.1."),
                    ("blocks.", "transformer_blocks."), ("output.", "output_proj.")],
}


def advect_name(workload, name):
    """A rule with a leading dot replaces a part, any other the beginning; at most one of the latter applies."""
    begun = False
    for old, new in NAMES.get(workload, []):
        if old.startswith("."):
            name = name.replace(old, new)
        elif not begun and name.startswith(old):
            name, begun = new + name[len(old):], True
    return name


def randomise(network, seed):
    """PyTorch's own initial values, and small numbers where it has zeros (the transformer's gates), so that every part of the
    network has a share in the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.02, generator=generator)


def save(network, workload, path):
    save_file({advect_name(workload, name): p.detach().contiguous() for name, p in network.named_parameters()}, path)


def load(network, workload, path):
    """Every parameter, none left out and none over."""
    values = load_file(path)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(values.pop(advect_name(workload, name)))
    if values:
        raise ValueError(f"{path} has parameters that {workload} does not: {', '.join(sorted(values))}")
