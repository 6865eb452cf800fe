"""Flow matching in PyTorch: time embedding, networks, loss, sampler and moving average. t = 0 is noise, t = 1 the action."""
import math

import torch
from torch import nn
from torch.nn import functional as F

TIME_DIM, TIME_SCALE, MAX_PERIOD = 64, 99.0, 1e4


def time_embedding(t, dim=TIME_DIM, scale=TIME_SCALE):
    """t [B] in [0, 1] -> [B, dim]: diffusion policy's SinusoidalPosEmb of t * scale, sines then cosines."""
    half = dim // 2
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(MAX_PERIOD) / (half - 1)))
    angles = t[:, None] * scale * frequencies
    return torch.cat([angles.sin(), angles.cos()], -1)


class Mlp(nn.Module):
    """Linear layers with SiLU between, over concat(action, time embedding, condition)."""

    time_dim = TIME_DIM

    def __init__(self, action_dim, condition_dim, width, hidden_layers=3):
        super().__init__()
        self.action_dim = action_dim
        widths = [action_dim + TIME_DIM + condition_dim] + [width] * hidden_layers + [action_dim]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(widths, widths[1:]))

    def forward(self, action, embedding, condition):
        h = self.layers[0](torch.cat([action, embedding, condition], -1))
        for layer in self.layers[1:]:
            h = layer(F.silu(h))
        return h


class ResidualBlock(nn.Module):
    """h + W2 silu(W1 layer_norm(h))"""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width)

    def forward(self, h):
        return h + self.down(F.silu(self.up(self.norm(h))))


class ResidualMlp(nn.Module):
    """W_out silu(blocks(W_in concat(action, time embedding, condition)))"""

    time_dim = TIME_DIM

    def __init__(self, action_dim, condition_dim, width, blocks):
        super().__init__()
        self.action_dim = action_dim
        self.input = nn.Linear(action_dim + TIME_DIM + condition_dim, width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.output = nn.Linear(width, action_dim)

    def forward(self, action, embedding, condition):
        h = self.input(torch.cat([action, embedding, condition], -1))
        for block in self.blocks:
            h = block(h)
        return self.output(F.silu(h))


def cfm_loss(network, action, condition):
    """mean ||v(x_t, t, z) - (x1 - x0)||^2 on the linear path, t uniform, no added noise."""
    noise = torch.randn_like(action)
    t = torch.rand(len(action), device=action.device)
    x = torch.lerp(noise, action, t[:, None])
    return F.mse_loss(network(x, time_embedding(t, network.time_dim), condition), action - noise)


def euler_sampler(network, steps, device="cpu"):
    """A function (noise [B, A], condition [B, Z]) -> actions [B, A]. The steps' time embeddings are made once, here."""
    embeddings = time_embedding(torch.arange(steps, device=device) / steps, network.time_dim)

    def sample(noise, condition):
        x = noise
        for embedding in embeddings:
            x = x + network(x, embedding.expand(x.shape[0], -1), condition) / steps
        return x

    return sample


class Ema:
    """An exponential moving average of a network's parameters, started at their present values."""

    def __init__(self, network, decay):
        self.decay = decay
        self.live = [p.detach() for p in network.parameters()]
        self.average = [p.clone() for p in self.live]

    @torch.no_grad()
    def update(self):
        torch._foreach_lerp_(self.average, self.live, 1 - self.decay)

    def copy_to(self, network):
        with torch.no_grad():
            for parameter, average in zip(network.parameters(), self.average):
                parameter.copy_(average)


def matrix_parameters(network):
    """The parameters that take part in matrix products."""
    return sum(p.numel() for p in network.parameters() if p.dim() == 2)


def operations(network, condition_dim, action_dim, device="cpu"):
    """Nominal operations of one evaluation of one sample: what the network says, or two for each element of each weight
    matrix, and each step that a convolution multiplies it with."""
    if hasattr(network, "operations"):
        return network.operations()
    count = 0

    def add(module, inputs, output):
        nonlocal count
        steps = {nn.Conv1d: output, nn.ConvTranspose1d: inputs[0]}.get(type(module))
        count += 2 * module.weight.numel() * (1 if steps is None else steps.shape[-1])

    layers = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.ConvTranspose1d))]
    hooks = [m.register_forward_hook(add) for m in layers]
    with torch.inference_mode():
        network(*(torch.zeros(1, n, device=device) for n in (action_dim, network.time_dim, condition_dim)))
    for hook in hooks:
        hook.remove()
    return count
