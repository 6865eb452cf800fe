"""Diffusion policy's ConditionalUnet1d as LeRobot has it (same layers, same order), as a velocity network."""
import torch
from torch import nn


class ConvBlock(nn.Sequential):
    """Convolution, group norm, Mish."""

    def __init__(self, inputs, outputs, kernel, groups):
        super().__init__(nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2), nn.GroupNorm(groups, outputs), nn.Mish())


class ResidualBlock(nn.Module):
    """Two convolution blocks with FiLM between, and the input added."""

    def __init__(self, inputs, outputs, condition, kernel, groups):
        super().__init__()
        self.conv1 = ConvBlock(inputs, outputs, kernel, groups)
        self.film = nn.Sequential(nn.Mish(), nn.Linear(condition, 2 * outputs))
        self.conv2 = ConvBlock(outputs, outputs, kernel, groups)
        self.residual = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, condition):
        scale, shift = self.film(condition)[:, :, None].chunk(2, 1)
        return self.conv2(scale * self.conv1(x) + shift) + self.residual(x)


class Unet1d(nn.Module):
    """Velocity of a chunk [B, horizon * action_dim] from its time's embedding [B, time_dim] and a condition [B, Z]."""

    def __init__(self, action_dim, horizon, condition_dim, dims=(256, 512, 1024), kernel=5, groups=8, time_dim=128):
        super().__init__()
        self.action_dim, self.horizon, self.time_dim = action_dim, horizon, time_dim
        self.step_encoder = nn.Sequential(nn.Linear(time_dim, 4 * time_dim), nn.Mish(), nn.Linear(4 * time_dim, time_dim))

        def block(inputs, outputs):
            return ResidualBlock(inputs, outputs, time_dim + condition_dim, kernel, groups)

        ends = list(zip((action_dim, *dims), dims))
        self.down = nn.ModuleList(
            nn.ModuleList([block(i, o), block(o, o), nn.Conv1d(o, o, 3, 2, 1) if o != dims[-1] else nn.Identity()])
            for i, o in ends)
        self.middle = nn.ModuleList([block(dims[-1], dims[-1]), block(dims[-1], dims[-1])])
        self.up = nn.ModuleList(
            nn.ModuleList([block(2 * o, i), block(i, i), nn.ConvTranspose1d(i, i, 4, 2, 1)]) for i, o in reversed(ends[1:]))
        self.final = nn.Sequential(ConvBlock(dims[0], dims[0], kernel, groups), nn.Conv1d(dims[0], action_dim, 1))

    def forward(self, chunk, embedding, condition):
        x = chunk.unflatten(1, (self.horizon, self.action_dim)).transpose(1, 2)
        condition = torch.cat([self.step_encoder(embedding), condition], -1)
        skips = []
        for first, second, down in self.down:
            x = second(first(x, condition), condition)
            skips.append(x)
            x = down(x)
        for block in self.middle:
            x = block(x, condition)
        for first, second, up in self.up:
            x = torch.cat([x, skips.pop()], 1)
            x = up(second(first(x, condition), condition))
        return self.final(x).transpose(1, 2).flatten(1)
