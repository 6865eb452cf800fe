"""The diffusion transformer of `advect bench --workload transformer`: DiT blocks with adaptive layer norm and rotary positions."""
import torch
from torch import nn
from torch.nn import functional as F

from flow import TIME_DIM, matrix_parameters


def rotary(tokens, dim, base=1e4):
    """cos and sin [tokens, dim] of position x base^(-2 i / dim), the same for both halves (GPT-NeoX)."""
    angles = torch.outer(torch.arange(tokens).float(), base ** (-torch.arange(0, dim, 2).float() / dim))
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def turned(x, cos, sin):
    low, high = x.chunk(2, -1)
    return x * cos + torch.cat([-high, low], -1) * sin


def modulated(norm, x, shift, scale):
    return norm(x) * (1 + scale) + shift


class Block(nn.Module):
    def __init__(self, width, heads, mlp_ratio):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(approximate="tanh"),
                                 nn.Linear(mlp_ratio * width, width))
        self.adaptive = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.adaptive.weight)
        nn.init.zeros_(self.adaptive.bias)

    def forward(self, x, c, cos, sin):
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaptive(c)[:, None].chunk(6, -1)
        qkv = self.qkv(modulated(self.norm, x, shift1, scale1))
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(turned(q, cos, sin), turned(k, cos, sin), v)
        x = x + gate1 * self.out(y.transpose(1, 2).flatten(2))
        return x + gate2 * self.mlp(modulated(self.norm, x, shift2, scale2))


class Transformer(nn.Module):
    """Velocity of chunks [B, horizon x action] given time embeddings [B, 64] and observations [B, condition]."""

    time_dim = TIME_DIM

    def __init__(self, horizon, action, condition, width=512, layers=6, heads=8, mlp_ratio=4):
        super().__init__()
        self.horizon, self.action, self.width = horizon, action, width
        self.input = nn.Linear(action, width)
        self.time = nn.Sequential(nn.Linear(TIME_DIM, width), nn.SiLU(), nn.Linear(width, width))
        self.observation = nn.Linear(condition, width)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.adaptive = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, action)
        cos, sin = rotary(horizon, width // heads)
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)

    def forward(self, action, embedding, condition):
        x = self.input(action.unflatten(-1, (self.horizon, self.action)))
        c = F.silu(self.time(embedding) + self.observation(condition))
        for block in self.blocks:
            x = block(x, c, self.cos, self.sin)
        shift, scale = self.adaptive(c)[:, None].chunk(2, -1)
        return self.output(modulated(self.norm, x, shift, scale)).flatten(1)

    def operations(self):
        """Per token, except time, observation and adaptive norms, which are once per chunk; and attention."""
        once = sum(matrix_parameters(m) for m in [self.time, self.observation, self.adaptive])
        once += sum(matrix_parameters(b.adaptive) for b in self.blocks)
        products = (matrix_parameters(self) - once) * self.horizon + once
        return 2 * (products + len(self.blocks) * 2 * self.horizon ** 2 * self.width)
