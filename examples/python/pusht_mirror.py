#!/usr/bin/env python3
"""Push-T demonstrations and their mirror images, in one file of episodes: twice the data for nothing.

The goal's T, the square table and its walls are symmetric about the diagonal x + y = 512 that the goal's stem lies on, so the
mirror image of a demonstration is one too:

    (x, y) -> (512 - y, 512 - x) of agent, block and action; block angle -> pi / 2 - angle

    pusht_mirror.py data/pusht.npz pusht-mirrored.npz
"""
import argparse
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "data"))
from pusht_features import features  # noqa: E402

SIDE = 512.0  # px


def mirrored(points):
    """The points [..., 2] (px) on the other side of the diagonal."""
    return SIDE - points[..., ::-1]


def mirrored_state(state):
    """The states [..., 5] (agent x, y, block x, y in px, block angle) on the other side of the diagonal."""
    angle = (np.pi / 2 - state[..., 4:]) % (2 * np.pi)
    return np.concatenate([mirrored(state[..., :2]), mirrored(state[..., 2:4]), angle], -1)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("demonstrations", type=pathlib.Path, help="a file of episodes with obs, action and state, as data/pusht.npz")
    p.add_argument("out", type=pathlib.Path, help="where to write the episodes and, after them, their mirror images")
    args = p.parse_args()
    with np.load(args.demonstrations) as data:
        if missing := {"obs", "action", "state", "episode_len"} - set(data.files):
            p.error(f"{args.demonstrations} has no {', '.join(sorted(missing))}")
        obs, action, state = (data[k].astype(np.float64) for k in ("obs", "action", "state"))
        lengths = data["episode_len"]
        twice = {k: np.concatenate([data[k], data[k]]) for k in ("episode_len", "episode_success") if k in data.files}
        if "fps" in data.files:
            twice["fps"] = data["fps"]
    if not np.allclose(features(state[:, :5]), obs, atol=1e-2):
        p.error(f"{args.demonstrations}: obs are not the features of data/pusht_features.py")
    twice["obs"] = np.concatenate([obs, features(mirrored_state(state[:, :5]))]).astype(np.float32)
    twice["action"] = np.concatenate([action, mirrored(action)]).astype(np.float32)
    aside = args.out.with_name(args.out.name + ".part.npz")
    np.savez(aside, **twice)
    os.replace(aside, args.out)
    print(f"{args.out}: {2 * len(lengths)} episodes, {len(twice['action'])} steps")


if __name__ == "__main__":
    main()
