"""The unmodified openpi-client against a running `advect serve`.

    pip install --no-deps -r tests/openpi/requirements.txt
    python tests/openpi/client_test.py POLICY.safetensors [ADVECT]

Starts ADVECT (target/release/advect) serve POLICY on a free port and asks for actions with WebsocketClientPolicy and
ActionChunkBroker. Exits with 0 if all went as it should.
"""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
from openpi_client import msgpack_numpy
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.websocket_client_policy import WebsocketClientPolicy

KEY = "a-key-of-the-test"
STATE = "observation/state"


def start(advect, policy, *args):
    """A server on a free port, and its URL."""
    command = [advect, "serve", policy, "--port", "0", "--device", "cpu", "--max-batch", "8", *args]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "ADVECT_TEST_KEY": KEY})
    line = server.stdout.readline()
    urls = [word for word in line.split() if word.startswith("ws://")]
    assert urls, f"the server printed {line!r}"
    return server, urls[0]


def stop(server):
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=20) == 0, f"the server ended with {server.returncode}"


def raises(client, observation, words):
    """A request that the server must refuse; the connection goes on."""
    try:
        client.infer(observation)
    except RuntimeError as error:
        assert words in str(error), f"{words!r} is not in {error}"
    else:
        raise AssertionError(f"{observation} was answered")


def check(url):
    client = WebsocketClientPolicy(url)
    meta = client.get_server_metadata()
    assert meta["protocol_version"] == 1 and meta["observation_keys"] == [STATE], meta
    history, obs_dim = meta["history"], meta["obs_dim"]
    horizon, action_dim = meta["horizon"], meta["action_dim"]
    assert meta["observation_shapes"] == {STATE: [history, obs_dim]}, meta
    state = np.linspace(0.0, 1.0, history * obs_dim, dtype=np.float32).reshape(history, obs_dim)

    def infer(value, **more):
        reply = client.infer({STATE: value, "seed": 3, "request": 5, **more})
        actions = reply["actions"]
        assert actions.shape == (horizon, action_dim) and actions.dtype == np.float32, actions
        assert np.isfinite(actions).all()
        assert reply["noise"] == {"seed": 3, "request": 5}, reply["noise"]
        assert isinstance(reply["server_timing"]["infer_ms"], float), reply
        return actions

    # The same numbers in every form that numpy and msgpack have for them.
    want = infer(state)
    forms = [state.astype(kind) for kind in ("<f8", ">f4", ">f8")]
    forms += [np.asfortranarray(state), state.tolist(), list(state), [list(row) for row in state]]
    for form in forms:
        np.testing.assert_allclose(infer(form), want, atol=1e-5)
    # One step stands for the whole history.
    newest = np.repeat(state[-1:], history, axis=0)
    np.testing.assert_array_equal(infer(state[-1]), infer(newest))
    # Integers, booleans, halves, scalars.
    whole = np.ones((history, obs_dim))
    want = infer(whole)
    for kind in ("i1", "i2", ">i4", "<i8", "u1", ">u2", "u4", "u8", "?", "f2", ">f2"):
        np.testing.assert_array_equal(infer(whole.astype(kind)), want)
    np.testing.assert_array_equal(infer([np.float32(1)] * obs_dim), want)
    reply = client.infer({STATE: state, "seed": np.int64(3), "request": np.uint8(5)})
    assert reply["noise"] == {"seed": 3, "request": 5}

    # Without a seed each request has noise of its own, which the reply names.
    first, second = client.infer({STATE: state}), client.infer({STATE: state})
    assert first["noise"]["seed"] == second["noise"]["seed"] == meta["seed"]
    assert second["noise"]["request"] == first["noise"]["request"] + 1
    assert not np.array_equal(first["actions"], second["actions"])
    again = client.infer({STATE: state, **second["noise"]})
    np.testing.assert_array_equal(again["actions"], second["actions"])
    assert "prev_total_ms" in again["server_timing"]

    # The server's reasons reach the caller, and the connection goes on.
    raises(client, {}, f'"{STATE}" is missing')
    raises(client, {STATE: state[:, :-1]}, "has the shape")
    raises(client, {STATE: np.full_like(state, np.nan)}, "NaN at element 0")
    raises(client, {STATE: "text"}, "found a string")
    infer(state)

    # A prompt and pictures, which the policy has no use for, change nothing.
    pictures = {"prompt": "go", "observation/image": np.zeros((480, 640, 3), np.uint8)}
    seen = client.infer({STATE: state, **pictures, **second["noise"]})
    np.testing.assert_array_equal(seen["actions"], second["actions"])

    # The broker hands out one action after another, and asks again at the chunk's end.
    broker = ActionChunkBroker(client, action_horizon=horizon)
    steps = [broker.infer({STATE: state}) for _ in range(2 * horizon)]
    assert all(step["actions"].shape == (action_dim,) for step in steps)
    seen = [step["noise"]["request"] for step in steps]
    assert len(set(seen[:horizon])) == len(set(seen[horizon:])) == 1 and seen[0] != seen[-1], seen
    chunk = client.infer({STATE: state, **steps[0]["noise"]})["actions"]
    np.testing.assert_array_equal(np.stack([step["actions"] for step in steps[:horizon]]), chunk)
    broker.reset()


def check_together(url, robots=8, requests=20):
    """Robots at the same time have what each has alone."""
    client = WebsocketClientPolicy(url)
    meta = client.get_server_metadata()
    size = meta["obs_dim"]
    ask = lambda client, robot, n: client.infer(
        {STATE: np.full(size, 0.1 * robot), "seed": robot, "request": n}
    )["actions"]
    want = [[ask(client, robot, n) for n in range(requests)] for robot in range(robots)]
    faults = []

    def run(robot):
        try:
            own = WebsocketClientPolicy(url)
            for n in range(requests):
                np.testing.assert_allclose(ask(own, robot, n), want[robot][n], atol=1e-4)
        except Exception as fault:  # noqa: BLE001: told by the main thread
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(robot,)) for robot in range(robots)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not faults, faults[0]


def check_key(url):
    try:
        WebsocketClientPolicy(url)
    except Exception as error:  # noqa: BLE001: websockets' own
        assert "401" in str(error), error
    else:
        raise AssertionError("let in without a key")
    meta = WebsocketClientPolicy(url, api_key=KEY).get_server_metadata()
    assert meta["protocol"] == "openpi"


def main():
    policy = sys.argv[1]
    advect = sys.argv[2] if len(sys.argv) > 2 else "target/release/advect"
    assert msgpack_numpy.unpackb(msgpack_numpy.packb(np.float32(1))) == 1
    server, url = start(advect, policy)
    try:
        check(url)
        check_together(url)
        stop(server)
        server, url = start(advect, policy, "--key-env", "ADVECT_TEST_KEY")
        check_key(url)
        stop(server)
    finally:
        server.kill()
    print("openpi-client: all went as it should")


if __name__ == "__main__":
    main()
