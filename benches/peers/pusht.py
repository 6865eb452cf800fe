"""Push-T for the peers: episodes, the split, windows, normalisation and the metrics, all in numpy and torch.

A window is (the last 2 observations, clamped at the episode's start; the 16 actions from the newest observation's time
on). Past the episode's end the last action repeats, at most `PAD_AFTER` times.
"""
import json
from dataclasses import dataclass

import numpy as np
import torch

from split import split_episodes

HISTORY, HORIZON, PAD_AFTER = 2, 16, 7
VALIDATION_FRACTION = 0.1
MAX_EVALUATED = 4096
AGENT = slice(0, 2)  # the agent's position in an observation, in pixels: actions are relative to it


@dataclass
class Windows:
    obs: np.ndarray  # [N, HISTORY, O], raw, oldest first
    action: np.ndarray  # [N, HORIZON, A], raw

    def __len__(self):
        return len(self.obs)

    def strided(self, count):
        """At most `count` windows, evenly spaced: window floor(i * N / count) for i in 0..count."""
        if len(self) <= count:
            return self
        rows = np.arange(count) * len(self) // count
        return Windows(self.obs[rows], self.action[rows])


def windows(obs, action):
    """The windows of one episode."""
    length = len(obs)
    now = np.arange(max(length - HORIZON + 1 + PAD_AFTER, 0))[:, None]
    past = np.maximum(now + np.arange(1 - HISTORY, 1), 0)
    ahead = np.minimum(now + np.arange(HORIZON), length - 1)
    return Windows(obs[past], action[ahead])


def constant_to_one(scale):
    return np.where(scale > 1e-8, scale, 1.0)


@dataclass
class Normaliser:
    """Observations min-max to [-1, 1]; actions relative to the agent, standardised per (horizon step, dimension)."""

    obs_centre: np.ndarray
    obs_scale: np.ndarray
    action_mean: np.ndarray
    action_scale: np.ndarray

    @classmethod
    def fit(cls, obs, train):
        """obs: every step of the training episodes; train: their windows."""
        low, high = obs.min(0), obs.max(0)
        relative = relative_actions(train.obs, train.action)
        deviation = relative.std(0)
        return cls((high + low) / 2, constant_to_one((high - low) / 2), relative.mean(0),
                   np.where(deviation > 1e-8, deviation + 1e-6, 1.0))

    def normalised_obs(self, obs):
        """[N, HISTORY, O] -> [N, HISTORY * O] float32"""
        return torch.tensor(((obs - self.obs_centre) / self.obs_scale).reshape(len(obs), -1), dtype=torch.float32)

    def normalised_action(self, obs, action):
        """[N, HORIZON, A] in pixels -> [N, HORIZON * A] float32"""
        relative = relative_actions(obs, action)
        return torch.tensor(((relative - self.action_mean) / self.action_scale).reshape(len(obs), -1), dtype=torch.float32)


def relative_actions(obs, action):
    return action - obs[:, -1:, AGENT]


@dataclass
class PushT:
    train: Windows
    validation: Windows
    evaluated: Windows  # the validation windows that the metrics use
    normaliser: Normaliser
    validation_ids: list


def load(path, split_seed=0, split_file=None):
    file = np.load(path)
    lengths = file["episode_len"]
    bounds = np.cumsum(lengths)[:-1]
    episodes = list(zip(np.split(file["obs"].astype(np.float64), bounds), np.split(file["action"].astype(np.float64), bounds)))
    if split_file:
        with open(split_file) as f:
            validation_ids = sorted(json.load(f)["validation"])
    else:
        _, validation_ids = split_episodes(len(episodes), VALIDATION_FRACTION, split_seed)
    held_out = set(validation_ids)

    def part(keep):
        cut = [windows(*episode) for i, episode in enumerate(episodes) if keep(i)]
        return Windows(np.concatenate([w.obs for w in cut]), np.concatenate([w.action for w in cut]))

    train, validation = part(lambda i: i not in held_out), part(lambda i: i in held_out)
    train_obs = np.concatenate([obs for i, (obs, _) in enumerate(episodes) if i not in held_out])
    return PushT(train, validation, validation.strided(MAX_EVALUATED), Normaliser.fit(train_obs, train), validation_ids)


def mean_distance(x, y):
    """The mean Euclidean distance over all pairs, in float64 and in slices that keep memory small."""
    x, y = x.double(), y.double()
    exact = "donot_use_mm_for_euclid_dist"
    return sum(torch.cdist(rows, y, compute_mode=exact).sum().item() for rows in x.split(512)) / (len(x) * len(y))


class EnergyDistance:
    """2 E|x - y| - E|x - x'| - E|y - y'| to a fixed set y (V-statistic: pairs of an element with itself count)."""

    def __init__(self, reference):
        self.reference = reference
        self.within_reference = mean_distance(reference, reference)

    def __call__(self, x):
        return 2 * mean_distance(x, self.reference) - mean_distance(x, x) - self.within_reference

    def perfect(self):
        """What as many independent draws from the reference's own law would score on average (self-pairs make it > 0)."""
        return 2 * self.within_reference / (len(self.reference) - 1)


def energy_score(samples, truth):
    """Mean over windows of E|x - y| - E|x - x'| / 2: lower is better, least in expectation for the true conditional law."""
    samples, truth = torch.stack(samples).double(), truth.double()  # [N, M, D], [M, D]
    count = len(samples)
    to_truth = (samples - truth).norm(dim=-1).mean()
    between = sum((samples - chunks).norm(dim=-1).mean(1).sum() for chunks in samples) / (count * (count - 1))
    return (to_truth - between / 2).item()


class Metrics:
    """How far sampled chunks are from the demonstrated ones over the evaluated validation windows."""

    def __init__(self, data):
        self.data = data
        self.chunks, self.newest = self._normalised(data.evaluated)
        self.marginal = EnergyDistance(self.chunks)
        self.joint = EnergyDistance(torch.cat([self.chunks, self.newest], 1))

    def _normalised(self, part):
        normaliser = self.data.normaliser
        return normaliser.normalised_action(part.obs, part.action), normaliser.normalised_obs(part.obs[:, -1:])

    def __call__(self, samples):
        """samples: one tensor [M, HORIZON * A] of normalised chunks per evaluation seed."""
        joint = [torch.cat([chunks, self.newest], 1) for chunks in samples]
        return {"energy_distance": mean_and_error([self.marginal(chunks) for chunks in samples]),
                "energy_distance_joint": mean_and_error([self.joint(pairs) for pairs in joint]),
                "energy_score": energy_score(samples, self.chunks) if len(samples) > 1 else None}

    def references(self):
        """What to read the distances against: independent draws from the demonstrations' law, and training windows."""
        chunks, newest = self._normalised(self.data.train.strided(len(self.data.evaluated)))
        return {"perfect_sampler": {"energy_distance": self.marginal.perfect(), "energy_distance_joint": self.joint.perfect()},
                "training_windows": {"energy_distance": self.marginal(chunks),
                                     "energy_distance_joint": self.joint(torch.cat([chunks, newest], 1))}}


def mean_and_error(values):
    values = np.array(values)
    stderr = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    return {"mean": float(values.mean()), "stderr": stderr, "values": values.tolist()}


def add_data_arguments(parser):
    parser.add_argument("--data", default="data/pusht.npz")
    parser.add_argument("--split", metavar="FILE.json", help='validation episodes as {"validation": [ids]}')
    parser.add_argument("--split-seed", type=int, default=0, help="seed of the 10 %% split when no --split is given")
