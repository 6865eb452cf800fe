#!/usr/bin/env python3
"""Push-T (gym-pusht) as a client of `advect serve`: success rate and best coverage over episodes by seed.

The policy sees the 36 features of data/pusht_features.py, computed here from the simulator's `state` observation
(agent x, y, block x, y in pixels, block angle), and answers with target positions of the agent in pixels.
An episode succeeds when the block covers more than 95 % of the goal within --max-steps; the simulator ends it there.
"""
import os
import pathlib
import sys

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws off screen
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
import gym_pusht  # noqa: F401, E402: registers the environment
import gymnasium  # noqa: E402
import numpy as np  # noqa: E402

import client  # noqa: E402

DATA = pathlib.Path(__file__).resolve().parents[2] / "data"
sys.path.insert(0, str(DATA))
from pusht_features import features  # noqa: E402


class Runner:
    """A simulator and a connection."""

    def __init__(self, args):
        self.args = args
        self.env = gymnasium.make("gym_pusht/PushT-v0", obs_type="state", render_mode="rgb_array",
                                  max_episode_steps=args.max_steps, disable_env_checker=True)
        self.robot = client.RobotClient(args.host, args.port, args.execute, 36, 2, args.api_key)

    def run(self, index, record):
        seed = self.args.seed0 + index
        state, _ = self.env.reset(seed=seed)
        self.robot.reset(seed)
        coverages, images, ended = [], [], False
        while not ended:
            if record:
                images.append(self.env.render())
            action = np.clip(self.robot.act(features(state)), 0.0, 512.0)
            state, _, terminated, truncated, info = self.env.step(action.astype(float))
            coverages.append(info["coverage"])
            ended = terminated or truncated
        if record:
            images.append(self.env.render())
        return {"seed": seed, "success": bool(terminated), "steps": len(coverages), "best_coverage": max(coverages),
                "final_coverage": coverages[-1], "infer_ms": self.robot.timed.times, "images": images}


def main():
    p = client.parser(__doc__.splitlines()[0], episodes=100, max_steps=300, execute=4, seed0=100_000)
    args = client.checked(p)
    args.fps = 10
    demonstrated = np.load(DATA / "pusht.npz")["seed"]
    if np.isin(np.arange(args.seed0, args.seed0 + args.episodes), demonstrated).any():
        p.error(f"--seed0: the demonstrations were recorded with seeds {demonstrated.min()} to {demonstrated.max()}")
    # one connection first: a server that is absent or serves another policy is one line, not one for each process
    metadata = client.RobotClient(args.host, args.port, args.execute, 36, 2, args.api_key).metadata
    results = client.run_all(Runner, args)
    client.report("Push-T", args, metadata, results, ["best_coverage"])


if __name__ == "__main__":
    main()
