"""Writes the fixture of tests/lerobot: a LeRobotDataset v3.0 as lerobot 0.4.4 itself writes it, and the values it must be
read as.

    python tests/lerobot/make_dataset.py        # rewrites tests/lerobot/v3 and tests/lerobot/expected.npz

Needs lerobot==0.4.4 (with torch, CPU). The numbers come from a seeded generator; parquet's bytes may differ with the version
of pyarrow.
"""

import shutil
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

HERE = Path(__file__).parent
ROOT = HERE / "v3"
FPS = 20
LENGTHS = [20, 33, 17, 24]
SUCCESS = [True, False, True, True]
TASKS = ["push the block", "push the block", "lift the block", "push the block"]

FEATURES = {
    "observation.state": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "grip"]},
    "observation.environment_state": {"dtype": "float32", "shape": (2,), "names": {"axes": ["block_x", "block_y"]}},
    "observation.images.top": {"dtype": "image", "shape": (8, 8, 3), "names": ["height", "width", "channel"]},
    "action": {"dtype": "float32", "shape": (2,), "names": [["vx", "vy"]]},
    "observation.force": {"dtype": "float64", "shape": (2,), "names": None},
    "next.success": {"dtype": "bool", "shape": (1,), "names": None},
}


def main():
    shutil.rmtree(ROOT, ignore_errors=True)
    dataset = LeRobotDataset.create("advect/fixture", FPS, FEATURES, root=ROOT, robot_type="planar", use_videos=False)
    # So small that a few episodes already take several files.
    dataset.meta.update_chunk_settings(data_files_size_in_mb=0.02)
    rng = np.random.default_rng(7)
    state, environment, action = [], [], []
    for length, success, task in zip(LENGTHS, SUCCESS, TASKS):
        at = rng.normal(size=3).astype(np.float32)
        block = rng.normal(size=2).astype(np.float32)
        for step in range(length):
            velocity = rng.normal(size=2).astype(np.float32)
            image = rng.integers(0, 255, size=(8, 8, 3), dtype=np.uint8)
            dataset.add_frame({
                "observation.state": at.copy(),
                "observation.environment_state": block.copy(),
                "observation.images.top": image,
                "action": velocity,
                "observation.force": rng.normal(size=2),
                "next.success": np.array([success and step == length - 1]),
                "task": task,
            })
            state.append(at.copy())
            environment.append(block.copy())
            action.append(velocity)
            at[:2] += velocity / FPS
            at[2] = float(step % 2)
        dataset.save_episode()
    dataset.finalize()
    shutil.rmtree(ROOT / "images", ignore_errors=True)

    read = LeRobotDataset("advect/fixture", root=ROOT)
    frames = [read[row] for row in range(len(read))]
    column = lambda name: np.stack([np.asarray(frame[name], dtype=np.float32) for frame in frames])
    obs = np.concatenate([column("observation.state"), column("observation.environment_state")], axis=1)
    assert np.array_equal(obs, np.concatenate([np.stack(state), np.stack(environment)], axis=1))
    assert np.array_equal(column("action"), np.stack(action))
    stats = {
        f"{name}.{key}": np.asarray(value, dtype=np.float64)
        for name in ["observation.state", "observation.environment_state", "action"]
        for key, value in read.meta.stats[name].items()
    }
    np.savez(
        HERE / "expected.npz",
        obs=obs,
        action=column("action"),
        episode_len=np.array(LENGTHS),
        episode_success=np.array(SUCCESS),
        fps=np.float64(read.fps),
        task_index=np.array([int(frame["task_index"]) for frame in frames]),
        **stats,
    )
    size = sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file())
    print(f"{len(read)} frames, {read.num_episodes} episodes, {size} bytes")
    print("\n".join(str(path.relative_to(ROOT)) for path in sorted(ROOT.rglob("*")) if path.is_file()))


if __name__ == "__main__":
    main()
