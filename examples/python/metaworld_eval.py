#!/usr/bin/env python3
"""A Meta-World task (MuJoCo) as a client of `advect serve`: success rate and return over episodes by seed.

Observations are the 39 values of the environment (goal included), actions its 4 (end-effector steps x, y, z and the gripper,
each -1 to 1). Episode i runs goal i % 50 of the benchmark MT1(task, seed0 + i // 50): fifty goals a seed.
An episode succeeds when `info["success"]` is ever 1, and ends there unless --to-the-end; its return is the sum of rewards
until its end, so returns compare between policies with --to-the-end only.
"""
import functools
import os
import warnings

os.environ.setdefault("MUJOCO_GL", "egl")  # for --video and --frames only: nothing is rendered otherwise
warnings.filterwarnings("ignore", message=".*precision lowered by casting.*")
import metaworld  # noqa: E402
import numpy as np  # noqa: E402

import client  # noqa: E402

GOALS = 50  # of a benchmark


@functools.lru_cache(maxsize=8)
def benchmark(task, seed):
    return metaworld.MT1(task, seed=seed)


class Runner:
    """A connection; the simulator is made anew for each episode, so that no state is carried over."""

    def __init__(self, args):
        self.args = args
        self.robot = client.RobotClient(args.host, args.port, args.execute, 39, 4, args.api_key)

    def environment(self, index, record):
        tasks = benchmark(self.args.task, self.args.seed0 + index // GOALS)
        env = tasks.train_classes[self.args.task](
            render_mode="rgb_array" if record else None, camera_name="corner2" if record else None)
        # set_task is what sets goal and observability together; setting `_partially_observable` by hand leaves a cached
        # observation space that clips the goal to zero
        env.set_task(tasks.train_tasks[index % GOALS])
        return env

    def run(self, index, record):
        env = self.environment(index, record)
        observation, _ = env.reset()
        self.robot.reset(self.args.seed0 + index)
        rewards, images, success = [], [], False
        while len(rewards) < self.args.max_steps and (self.args.to_the_end or not success):
            if record:
                images.append(np.flipud(env.render()))  # this camera hangs upside down
            action = np.clip(self.robot.act(observation), env.action_space.low, env.action_space.high)
            observation, reward, _, _, info = env.step(action)
            rewards.append(float(reward))
            success = success or info["success"] > 0
        env.close()
        return {"seed": self.args.seed0 + index // GOALS, "goal": index % GOALS, "success": bool(success),
                "steps": len(rewards), "return": sum(rewards), "infer_ms": self.robot.timed.times, "images": images}


def main():
    p = client.parser(__doc__.splitlines()[0], episodes=50, max_steps=500, execute=8, seed0=100_000)
    p.add_argument("--task", required=True, choices=sorted(metaworld.ALL_V3_ENVIRONMENTS), metavar="TASK",
                   help="such as pick-place-v3")
    p.add_argument("--to-the-end", action="store_true", help="go on after success, to --max-steps")
    p.add_argument("--demonstrations", metavar="FILE.npz", help="refuse the seeds that these were recorded with")
    args = client.checked(p)
    args.fps = 80
    if args.max_steps > 500:
        p.error("--max-steps: the environment ends after 500")
    if args.demonstrations:
        recorded = np.unique(np.load(args.demonstrations)["task_seed_index"][:, 0])
        if np.isin(np.arange(args.seed0, args.seed0 + -(-args.episodes // GOALS)), recorded).any():
            p.error(f"--seed0: the demonstrations were recorded with seeds {recorded.tolist()}")
    # one connection first: a server that is absent or serves another policy is one line, not one for each process
    metadata = client.RobotClient(args.host, args.port, args.execute, 39, 4, args.api_key).metadata
    results = client.run_all(Runner, args)
    client.report(args.task, args, metadata, results, ["return"])


if __name__ == "__main__":
    main()
