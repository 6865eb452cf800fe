"""What the evaluations share: a policy at the other end of a WebSocket, episodes in parallel processes, intervals.

The policy is driven by openpi-client as PyPI has it: WebsocketClientPolicy asks the server for a chunk of actions,
ActionChunkBroker hands them out one at a time and asks again after `execute` of them. What is added here is the history:
the server takes the last `history` observations, oldest first. The noise of each request is named too.
"""
import argparse
import collections
import concurrent.futures
import json
import math
import multiprocessing
import pathlib
import time

import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.base_policy import BasePolicy
from openpi_client.websocket_client_policy import WebsocketClientPolicy

OBSERVATION = "observation/state"


class TimedPolicy(BasePolicy):
    """A policy that remembers how long each inference took, in milliseconds as the client sees it."""

    def __init__(self, policy):
        self.policy, self.times = policy, []

    def infer(self, obs):
        start = time.perf_counter()
        reply = self.policy.infer(obs)
        self.times.append(1e3 * (time.perf_counter() - start))
        return reply

    def reset(self):
        self.policy.reset()


class RobotClient:
    """One robot's connection: it keeps the history of observations and executes chunks."""

    def __init__(self, host, port, execute, obs_dim, action_dim, api_key=None):
        try:
            connection = WebsocketClientPolicy(host=host, port=port, api_key=api_key)
        except OSError as error:
            raise SystemExit(f"no policy server at {host}:{port} ({error}): start `advect serve` first") from None
        self.metadata = connection.get_server_metadata()
        check_metadata(self.metadata, execute, obs_dim, action_dim)
        self.timed = TimedPolicy(connection)
        self.broker = ActionChunkBroker(self.timed, execute)
        self.history = collections.deque(maxlen=self.metadata["history"])

    def reset(self, seed):
        """Forgets the episode: history, what is left of the chunk, and the times. `seed` names the next one's noise."""
        self.seed = seed
        self.history.clear()
        self.broker.reset()
        self.timed.times = []

    def act(self, observation):
        """The action [action_dim] for this step. To be called at every step, since every observation is history."""
        observation = np.asarray(observation, np.float32)
        if not self.history:  # before the first step there is nothing: as in training, the first one is repeated
            self.history.extend([observation] * self.history.maxlen)
        self.history.append(observation)
        # seed and request name the noise, so that an episode does not depend on which worker runs it, and when
        request = {OBSERVATION: np.stack(self.history), "seed": self.seed, "request": len(self.timed.times)}
        return np.array(self.broker.infer(request)["actions"])


def check_metadata(metadata, execute, obs_dim, action_dim):
    """Stops with one clear line where the served policy is not one for this simulator."""
    needed = ("observation_keys", "history", "obs_dim", "horizon", "action_dim")
    if missing := [key for key in needed if key not in metadata]:
        raise SystemExit(f"the server's metadata lacks {', '.join(missing)}: it has {', '.join(map(str, metadata))}")
    if OBSERVATION not in metadata["observation_keys"]:
        raise SystemExit(f"the policy takes {metadata['observation_keys']}, this client sends {OBSERVATION}")
    for key, own in (("obs_dim", obs_dim), ("action_dim", action_dim)):
        if metadata[key] != own:
            raise SystemExit(f"the policy's {key} is {metadata[key]}, this simulator's {own}: another task's policy?")
    if metadata.get("action_offset", 0):
        raise SystemExit(f"the chunks begin {metadata['action_offset']} steps late: these simulators act on what they see")
    if not 1 <= execute <= metadata["horizon"]:
        raise SystemExit(f"--execute {execute}: the policy's chunks have {metadata['horizon']} actions")


def parser(description, episodes, max_steps, execute, seed0):
    """The options that all evaluations have."""
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--host", default="127.0.0.1", help="the policy server")
    p.add_argument("--port", type=int, default=8000)
    p.add_argument("--api-key", help="the server's key, where it wants one")
    p.add_argument("--episodes", type=int, default=episodes)
    p.add_argument("--seed0", type=int, default=seed0, help="seed of the first episode; the others count up from it")
    p.add_argument("--execute", type=int, default=execute, help="actions of a chunk to execute before asking again")
    p.add_argument("--max-steps", type=int, default=max_steps, help="steps after which an episode has failed")
    p.add_argument("--workers", type=int, default=2, help="processes, each with a simulator and a connection")
    p.add_argument("--record", type=int, default=3, help="how many episodes --video and --frames show")
    p.add_argument("--video", type=pathlib.Path, metavar="DIR", help="write an MP4 of each recorded episode")
    p.add_argument("--frames", type=pathlib.Path, metavar="DIR", help="write PNGs of each recorded episode")
    p.add_argument("--frame-every", type=int, default=10, help="steps between two PNGs")
    p.add_argument("--json", type=pathlib.Path, metavar="OUT", help="write all results")
    return p


def checked(p):
    """Parses the command line and refuses what no evaluation can mean."""
    args = p.parse_args()
    for name in ("episodes", "execute", "max_steps", "workers", "frame_every"):
        if getattr(args, name) < 1:
            p.error(f"--{name.replace('_', '-')}: at least 1")
    return args


_runner = None  # of this worker process


def _start(make_runner, args):
    global _runner
    _runner = make_runner(args)


def _run(index, record):
    return _runner.run(index, record)


def run_all(make_runner, args):
    """Runs the episodes in `args.workers` processes; the results in order of their index.

    `make_runner(args)` is called once in each process; its `run(index, record)` runs an episode and returns a dict with
    `success`, `steps`, `infer_ms` (list) and, if it was told to record, `images` (list of [height, width, 3] u8).
    """
    recorded = args.record if args.video or args.frames else 0
    results, start = [None] * args.episodes, time.perf_counter()
    # fork would share sockets and the simulators' state: start clean processes
    context, workers = multiprocessing.get_context("spawn"), min(args.workers, args.episodes)
    with concurrent.futures.ProcessPoolExecutor(workers, context, _start, (make_runner, args)) as pool:
        futures = {pool.submit(_run, index, index < recorded): index for index in range(args.episodes)}
        try:
            for done, future in enumerate(concurrent.futures.as_completed(futures), 1):
                index = futures[future]
                results[index] = future.result()
                save_images(results[index].pop("images", []), args, f"episode-{index:03}")
                succeeded = sum(r["success"] for r in results if r)
                print(f"\r{done}/{args.episodes} episodes, {succeeded} succeeded", end="", flush=True)
        except concurrent.futures.process.BrokenProcessPool:
            raise SystemExit("\na worker ended: its own message is above") from None
        finally:
            pool.shutdown(cancel_futures=True)
    print(f" in {time.perf_counter() - start:.0f} s")
    return results


def save_images(images, args, name):
    """Writes what --video and --frames ask for."""
    if not images:
        return
    import imageio.v3 as imageio

    if args.video:
        args.video.mkdir(parents=True, exist_ok=True)
        imageio.imwrite(args.video / f"{name}.mp4", np.stack(images), fps=args.fps, macro_block_size=None)
    if args.frames:
        (args.frames / name).mkdir(parents=True, exist_ok=True)
        for step in range(0, len(images), args.frame_every):
            imageio.imwrite(args.frames / name / f"{step:04}.png", images[step])


def wilson(successes, n, z=1.959964):
    """The 95 % score interval of a success rate (Wilson 1927)."""
    p, z2n = successes / n, z * z / n
    middle, half = (p + z2n / 2) / (1 + z2n), z / (1 + z2n) * math.sqrt(p * (1 - p) / n + z2n / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(values, resamples=10_000):
    """The 95 % percentile interval of a mean: no law is assumed, since coverages pile up near 1."""
    values = np.asarray(values, float)
    draws = np.random.default_rng(0).integers(0, len(values), (resamples, len(values)))
    return tuple(np.percentile(values[draws].mean(1), [2.5, 97.5]).tolist())


def summarise(results, means):
    """Success with its interval, the mean of each key in `means` with its interval, and the time of an inference."""
    successes, n = sum(bool(r["success"]) for r in results), len(results)
    times = np.concatenate([r["infer_ms"] for r in results])
    summary = {"episodes": n, "successes": successes, "success": successes / n, "success_ci95": wilson(successes, n)}
    for key in means:
        values = [r[key] for r in results]
        summary |= {key: float(np.mean(values)), f"{key}_ci95": bootstrap(values)}
    return summary | {
        "mean_steps": float(np.mean([r["steps"] for r in results])),
        "inferences": len(times),
        "infer_ms_p50": float(np.median(times)),
        "infer_ms_p99": float(np.percentile(times, 99)),
    }


def report(task, args, metadata, results, means):
    """Prints the summary and writes --json."""
    summary = summarise(results, means)
    print(f"{task}, {summary['episodes']} episodes, {args.execute} actions of each chunk executed")
    for key in ("success", *means):
        low, high = summary[f"{key}_ci95"]
        print(f"  {key.replace('_', ' '):14} {summary[key]:8.3f}   95 % interval {low:.3f} to {high:.3f}")
    print(f"  inference      {summary['infer_ms_p50']:8.2f} ms median, {summary['infer_ms_p99']:.2f} ms p99, "
          f"{summary['inferences']} of them")
    if args.json:
        for r in results:
            r["infer_ms"] = [round(t, 3) for t in r["infer_ms"]]
        settings = {k: str(v) if isinstance(v, pathlib.Path) else v for k, v in vars(args).items() if k != "api_key"}
        everything = {"task": task, "summary": summary, "settings": settings, "server": metadata, "episodes": results}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        aside = args.json.with_suffix(".tmp")  # a stopped run leaves no half-written results
        aside.write_text(json.dumps(everything, indent=1))
        aside.replace(args.json)
