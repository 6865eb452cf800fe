#!/usr/bin/env python3
"""Selects from the Push-T demonstrations, and their mirror images, the moves that bring the block on faster than usual.

A policy that imitates everything is as slow as its demonstrator, who runs out of time in 1 of 28 episodes. What this does:

1.  Mirrors. The goal's T, the square table and its walls are symmetric about the diagonal x + y = 512, so the mirror image of a
    demonstration is one too: (x, y) -> (512 - y, 512 - x), block angle -> pi / 2 - angle.
2.  Estimates the steps to the goal V(s): the mean over the 24 nearest states of other successful demonstrations.
3.  Keeps a window of 16 steps if it gains more, V(s[t]) - V(s[t + 16]) - 16, than most windows from the 64 states nearest to its own:
    the best --keep of them. By place, not over all: where the demonstrations are few, and slow, some of them must stay.

That is advantage-filtered imitation (as BAIL, Chen et al. 2020, or a hard AWR, Peng et al. 2019), with V by nearest neighbours. The
runs of windows that are left become episodes of the file written, each as long as its windows reach, the last observation and
action of a demonstration repeated as padding would: train on it with `pad_after = 0`, as examples/python/pusht_fast.toml does.

    pusht_select.py data/pusht.npz pusht-fast.npz
"""
import argparse
import os
import pathlib
import sys

import numpy as np
from scipy.spatial import cKDTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "data"))
from pusht_features import GOAL, GOAL_ANGLE, features  # noqa: E402

SIDE = 512.0  # px
NEIGHBOURS = 24  # states that V is the mean of
RIVALS = 64  # windows that one is compared with
QUERIED = 256  # nearest states of which those of the same demonstration do not count
SOFT = 12.5  # px: distances far below it weigh alike
REACH = 60.0  # px: what a radian of the block's angle is worth


def mirrored(points):
    """The points [..., 2] (px) on the other side of the diagonal."""
    return SIDE - points[..., ::-1]


def mirrored_state(state):
    """The states [..., 5] (agent x, y, block x, y in px, block angle) on the other side of the diagonal."""
    angle = (np.pi / 2 - state[..., 4:]) % (2 * np.pi)
    return np.concatenate([mirrored(state[..., :2]), mirrored(state[..., 2:4]), angle], -1)


def place(state):
    """Where states [T, 5] lie among others [T, 6]: the block's pose about the goal, the agent in the block's frame."""
    cos, sin = np.cos(state[:, 4]), np.sin(state[:, 4])
    x, y = (state[:, :2] - state[:, 2:4]).T
    turn = (state[:, 4] - GOAL_ANGLE + np.pi) % (2 * np.pi) - np.pi
    block = state[:, 2:4] - GOAL
    return np.stack([*block.T, REACH * np.cos(turn), REACH * np.sin(turn), cos * x + sin * y, cos * y - sin * x], -1)


def neighbours(states, demonstration):
    """For every state of some episodes [T, 5 each] the nearest ones of other demonstrations [all T, RIVALS] and their distances;
    `demonstration` says which episodes are the same one."""
    places = np.concatenate([place(s) for s in states])
    of = np.repeat(demonstration, [len(s) for s in states])
    tree, near, far = cKDTree(places), [], []
    for rows in np.array_split(np.arange(len(places)), len(places) // 4096 + 1):
        distance, index = tree.query(places[rows], k=min(QUERIED, len(places)))
        other = of[index] != of[rows, None]
        if other.sum(1).min() < RIVALS:
            raise SystemExit("too few demonstrations: some states have no neighbours in others")
        first = np.argsort(~other, 1, kind="stable")[:, :RIVALS]
        near.append(np.take_along_axis(index, first, 1).astype(np.int32))
        far.append(np.take_along_axis(distance, first, 1).astype(np.float32))
    return np.concatenate(near), np.concatenate(far)


def gain(value, horizon):
    """V(s[t]) - V(s[t + horizon]) less the time it took, for each state; V is 0 where the goal is reached."""
    t = np.arange(len(value))
    end = np.minimum(t + horizon, len(value))
    return value - np.append(value, 0.0)[end] - (end - t)


def runs(kept):
    """[first, end) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], kept.astype(int), [0]])))
    return edges.reshape(-1, 2)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("demonstrations", type=pathlib.Path, help="episodes with action, state and episode_success, as data/pusht.npz")
    p.add_argument("out", type=pathlib.Path, help="the .npz to write")
    p.add_argument("--keep", type=float, default=0.5, help="fraction of the windows to keep at each place [%(default)s]")
    p.add_argument("--horizon", type=int, default=16, help="steps of a window [%(default)s]")
    args = p.parse_args()
    if not 0 < args.keep <= 1 or args.horizon < 1 or args.out.suffix != ".npz":
        p.error("needed --keep in (0, 1], --horizon of at least 1 and a name that ends in .npz")
    with np.load(args.demonstrations) as data:
        if missing := {"action", "state", "episode_len", "episode_success"} - set(data.files):
            p.error(f"{args.demonstrations} has no {', '.join(sorted(missing))}")
        ends = np.cumsum(data["episode_len"])[:-1]
        both = zip(np.split(data["state"][:, :5].astype(float), ends), np.split(data["action"].astype(float), ends))
        episodes = [e for e, success in zip(both, data["episode_success"]) if success]
        fps = data["fps"] if "fps" in data.files else 10
    number = np.tile(np.arange(len(episodes)), 2)
    episodes += [(mirrored_state(s), mirrored(a)) for s, a in episodes]
    lengths = [len(s) for s, _ in episodes]
    ends = np.cumsum(lengths)[:-1]
    near, far = neighbours([s for s, _ in episodes], number)
    left = np.concatenate([np.arange(n, 0, -1.0) for n in lengths])
    weight = 1 / (SOFT + far[:, :NEIGHBOURS])
    value = (weight * left[near[:, :NEIGHBOURS]]).sum(1) / weight.sum(1)
    gains = np.concatenate([gain(v, args.horizon) for v in np.split(value, ends)])
    better = (gains[near] > gains[:, None]).mean(1)
    kept = np.split(better < args.keep, ends)
    obs, action = [], []
    for (state, act), keep in zip(episodes, kept):
        after = args.horizon - 1
        state, act = (np.concatenate([rows, np.repeat(rows[-1:], after, 0)]) for rows in (state, act))
        for first, end in runs(keep):
            # One step before the first window's own, for its history.
            rows = slice(max(0, first - 1), end + after)
            obs.append(features(state[rows]).astype(np.float32))
            action.append(act[rows].astype(np.float32))
    aside = args.out.with_name(args.out.name + ".part.npz")
    lengths = np.array([len(a) for a in action])
    np.savez(aside, obs=np.concatenate(obs), action=np.concatenate(action), episode_len=lengths, fps=fps)
    os.replace(aside, args.out)
    print(f"{args.out}: {sum(k.sum() for k in kept)} windows of {len(gains)}, in {len(lengths)} runs")


if __name__ == "__main__":
    main()
