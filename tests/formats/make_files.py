"""Small files of the formats that demonstrations come in, by the packages that write them: h5py 3.16, zarr 3.1, pyarrow 26,
mcap 1.6 with mcap-ros2-support 0.6.

    python make_files.py FOLDER

Values follow from values(), so that the tests know every one: 100 * episode + 10 * row + column, with a sign and a fraction.
"""

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
LENGTHS = [3, 5, 4]


def values(episode, rows, dims, sign=1, dtype=np.float64):
    """[rows, dims]: exact in every float type that is used, f16 included."""
    row, column = np.meshgrid(np.arange(rows), np.arange(dims), indexing="ij")
    return (sign * (100 * episode + 10 * row + column + 0.5)).astype(dtype)


def robomimic(name, libver, **filters):
    with h5py.File(out / name, "w", libver=libver) as f:
        data = f.create_group("data")
        data.attrs["total"] = sum(LENGTHS)
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}})
        # Written in another order than their numbers: demo_10 comes before demo_2 by name.
        for number, episode in [(10, 2), (2, 1), (0, 0)]:
            n, g = LENGTHS[episode], data.create_group(f"demo_{number}")
            g.attrs["num_samples"] = n
            g.create_dataset("actions", data=values(episode, n, 2, -1), **filters)
            g.create_dataset("obs/robot0_eef_pos", data=values(episode, n, 3), **filters)
            g.create_dataset("obs/robot0_gripper_qpos", data=values(episode, n, 1, 1, np.float16))
            g.create_dataset("obs/agentview_image", data=np.zeros((n, 2, 2, 3), np.uint8), **filters)
            g.create_dataset("next_obs/robot0_eef_pos", data=values(episode, n, 3) + 1000)
            g.create_dataset("dones", data=np.arange(n) == n - 1)
            g.create_dataset("rewards", data=np.zeros(n) if episode == 1 else np.arange(n, dtype=float))


robomimic("robomimic.hdf5", ("earliest", "v200"))
robomimic("robomimic_latest.hdf5", "latest", chunks=True, compression="gzip", shuffle=True)

with h5py.File(out / "minari.hdf5", "w", track_order=True) as f:
    for episode, n in enumerate(LENGTHS):
        g = f.create_group(f"episode_{episode}")
        g.attrs["total_steps"] = n
        # One observation more than actions, in a dictionary.
        # An index of chunks takes 2 KB in this layout: one is enough.
        g.create_dataset("observations/observation", data=values(episode, n + 1, 2), chunks=True if episode == 0 else None)
        g.create_dataset("observations/desired_goal", data=values(episode, n + 1, 1, 1, np.int32))
        g.create_dataset("actions", data=values(episode, n, 1, -1, np.float32))
        g.create_dataset("rewards", data=np.zeros(n))
        g.create_dataset("terminations", data=np.zeros(n, bool))
        g.create_dataset("truncations", data=np.arange(n) == n - 1)
        g.create_dataset("infos/success", data=np.arange(n + 1) == (n if episode == 1 else -1))

with h5py.File(out / "aloha.hdf5", "w") as f:
    f.create_dataset("action", data=values(0, 4, 2, -1, ">f4"))
    f.create_dataset("observations/qpos", data=values(0, 4, 2, 1, ">f8"))
    f.create_dataset("observations/images/top", data=np.zeros((4, 2, 2, 3), np.uint8))

# As Julia and MATLAB would write 2 steps: a step is a column there.
with h5py.File(out / "transposed.hdf5", "w") as f:
    f.create_dataset("action", data=values(0, 2, 3, -1))
    f.create_dataset("obs/q", data=values(0, 2, 3, 1))

# D4RL keeps its episodes end to end, and says where they end: by themselves or because their time was over.
with h5py.File(out / "d4rl.hdf5", "w") as f:
    ends = np.cumsum(LENGTHS) - 1
    f.create_dataset("actions", data=np.concatenate([values(e, n, 2, -1, np.float32) for e, n in enumerate(LENGTHS)]))
    f.create_dataset("observations", data=np.concatenate([values(e, n, 3, 1, np.float32) for e, n in enumerate(LENGTHS)]))
    f.create_dataset("terminals", data=np.isin(np.arange(sum(LENGTHS)), ends[1:]))
    f.create_dataset("timeouts", data=np.isin(np.arange(sum(LENGTHS)), ends[:1]))

lines = ["# a logger's remark", "t;episode;q_0;q_1;command;note"]
for episode, n in enumerate(LENGTHS):
    q, a = values(episode, n, 2), values(episode, n, 1, -1)
    lines += [f"{50 + t / 20:.2f};{episode};{q[t, 0]};{q[t, 1]};{a[t, 0]};x" for t in range(n)]
(out / "table.csv").write_text("\n".join(lines) + "\n")

# A LeRobot directory with a feature of two axes, a half and an int64, in parquet of every codec (v2.1: a file an episode).
root = out / "axes"
(root / "meta").mkdir(parents=True, exist_ok=True)
(root / "data").mkdir(exist_ok=True)
codecs, starts = ["gzip", "brotli", "lz4"], np.cumsum([0] + LENGTHS)
for episode, n in enumerate(LENGTHS):
    action = values(episode, n, 6, -1, np.float32).reshape(n, 2, 3)
    table = pa.table({
        "observation.state": pa.array(list(values(episode, n, 2, 1, np.float16)), pa.list_(pa.float16())),
        "action": pa.array(action.tolist(), pa.list_(pa.list_(pa.float32()))),
        "timestamp": pa.array((np.arange(n) / 20).astype("f4")),
        "frame_index": np.arange(n), "episode_index": np.full(n, episode), "index": starts[episode] + np.arange(n),
        "task_index": np.zeros(n, "i8")})
    pq.write_table(table, root / f"data/episode_{episode:06d}.parquet", compression=codecs[episode])
one = {"dtype": "int64", "shape": [1], "names": None}
(root / "meta/info.json").write_text(json.dumps({
    "codebase_version": "v2.1", "fps": 20, "total_episodes": 3, "total_frames": sum(LENGTHS), "chunks_size": 1000,
    "data_path": "data/episode_{episode_index:06d}.parquet", "features": {
        "observation.state": {"dtype": "float16", "shape": [2], "names": None},
        "action": {"dtype": "float32", "shape": [2, 3], "names": None}, "timestamp": {**one, "dtype": "float32"},
        "frame_index": one, "episode_index": one, "index": one, "task_index": one}}))
(root / "meta/episodes.jsonl").write_text("".join(
    json.dumps({"episode_index": i, "tasks": ["move"], "length": n}) + "\n" for i, n in enumerate(LENGTHS)))
(root / "meta/tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": "move"}) + "\n")

# diffusion policy's replay buffer, in both formats.
import numcodecs
import zarr
from zarr.codecs import BloscCodec, GzipCodec


def everything(dims, sign=1, dtype=np.float32):
    return np.concatenate([values(e, n, dims, sign, dtype) for e, n in enumerate(LENGTHS)])


def store(name, zarr_format, state, keypoint, action, chunks, compression=None):
    at = out / name
    if compression is not None:
        at.unlink(missing_ok=True)
        at = zarr.storage.ZipStore(at, mode="w", compression=compression)
    z = zarr.open_group(at, mode="w", zarr_format=zarr_format)
    z.create_array("data/state", shape=(12, 2), dtype="f4", **state)[:] = everything(2)
    # Large enough that blosc splits it into streams.
    z.create_array("data/keypoint", shape=(12, 8, 2), dtype="f8", **keypoint)[:] = everything(16, 1, "f8").reshape(12, 8, 2)
    # Chunks that do not divide the array, and rows beyond the last episode.
    z.create_array("data/action", shape=(14, 3), chunks=chunks, dtype="f2", **action)[:12] = everything(3, -1, "f2")
    z.create_array("data/img", shape=(12, 2, 2, 3), dtype="u1")[:] = 7
    # Only fill value: no chunk is written.
    z.create_array("data/n_contacts", shape=(12, 1), dtype="i4", fill_value=3)
    z.create_array("meta/episode_ends", shape=(3,), dtype="i8", compressors=None)[:] = np.cumsum(LENGTHS)
    if compression is not None:
        at.close()


store("zarr2", 2, {}, {"compressors": numcodecs.Blosc("lz4", 5, 1)}, {"compressors": numcodecs.Zlib()}, (5, 2))
store("zarr2_others", 2, {"compressors": numcodecs.LZ4(), "order": "F"}, {"compressors": numcodecs.Blosc("zstd", 5, 1)},
      {"compressors": numcodecs.Blosc("zlib", 5, 0)}, (14, 3))
store("zarr3", 3, {}, {"compressors": BloscCodec(cname="lz4", shuffle="shuffle")}, {"compressors": GzipCodec()}, (4, 3))

# The same in one zip archive, stored and packed; and in shards: an index of the chunks at the end (as it is by default) or the start.
store("zarr2.zarr.zip", 2, {}, {"compressors": numcodecs.Blosc("lz4", 5, 1)}, {"compressors": numcodecs.Zlib()}, (5, 2), 0)
store("zarr3.zarr.zip", 3, {}, {"compressors": BloscCodec(cname="lz4", shuffle="shuffle")}, {"compressors": GzipCodec()}, (4, 3), 8)
first = zarr.codecs.ShardingCodec(chunk_shape=(2, 2), codecs=[zarr.codecs.BytesCodec(), GzipCodec()], index_location="start")
store("zarr3_shards", 3, {"chunks": (2, 1), "shards": (8, 2)}, {"chunks": (3, 8, 1), "shards": (12, 8, 2)},
      {"shards": (8, 4), "compressors": GzipCodec()}, (2, 2))

# A ROS 2 recording: joint states at 100 Hz from 10.00 s, commands at 50 Hz from 10.03 s, a gripper that speaks once.
from mcap.writer import CompressionType
from mcap_ros2.writer import Writer

HEADER = "=" * 80 + "\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n" + "=" * 80 + \
    "\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
STATE = "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n" + HEADER
TWIST = "Vector3  linear\nVector3  angular # rad/s\n" + "=" * 80 + "\nMSG: geometry_msgs/Vector3\nfloat64 x\nfloat64 y\nfloat64 z\n"
GRIP = "uint8 OPEN=1\nbool closed\nfloat32[2] width\nint16 force\n"


def recording(name, compression, joints=("b_joint", "a"), swapped=None):
    with open(out / name, "wb") as f:
        w = Writer(f, compression=compression)
        state = w.register_msgdef("sensor_msgs/msg/JointState", STATE)
        twist = w.register_msgdef("geometry_msgs/msg/Twist", TWIST)
        grip = w.register_msgdef("my_msgs/msg/Grip", GRIP)
        ns = lambda seconds: int(round(seconds * 1e9))
        w.write_message("/gripper", grip, {"closed": True, "width": [0.25, -0.5], "force": -3}, ns(10), ns(10))
        # Commands before the states, and each out of turn: the reader sorts by time.
        for k in reversed(range(20)):
            t = 10.03 + k / 50
            w.write_message("/cmd_vel", twist, {"linear": {"x": -(k + 0.5), "y": 0.0, "z": 0.0},
                                                "angular": {"x": 0.0, "y": 0.0, "z": k + 0.25}}, ns(t), ns(t))
        for k in range(50):
            t = 10 + k / 100
            names = list(joints) if k != swapped else list(joints)[::-1]
            w.write_message("/joint_states", state, {
                "header": {"stamp": {"sec": 10, "nanosec": k * 10_000_000}, "frame_id": "odd"}, "name": names,
                "position": [k + 0.5, 100 + k], "velocity": [], "effort": [1.0]}, ns(t), ns(t))
        w.finish()


recording("zstd.mcap", CompressionType.ZSTD)
recording("lz4.mcap", CompressionType.LZ4)
recording("plain.mcap", CompressionType.NONE)
recording("swapped.mcap", CompressionType.ZSTD, swapped=30)
