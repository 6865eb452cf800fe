"""The energy distance of advect (src/data/quality.rs), for judging another program's samples the same way.

Run as a script, it checks itself against energy_vector.json, which advect's own test reads too.
"""
import json
import pathlib

import numpy as np


def mean_distance(x, y, block=256):
    """Mean Euclidean distance over all pairs of rows, x [n, d] and y [m, d], in float64."""
    total = 0.0
    for i in range(0, len(x), block):
        difference = x[i:i + block, None, :] - y[None, :, :]
        total += np.sqrt((difference ** 2).sum(-1)).sum()
    return total / (len(x) * len(y))


def energy_distance(x, y):
    """2 mean|x - y| - mean|x - x'| - mean|y - y'| over all pairs, i = j included (V-statistic)."""
    x, y = (np.asarray(np.asarray(a, np.float32), np.float64) for a in (x, y))
    return 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)


def mean_and_standard_error(values):
    """(mean, sample standard deviation / sqrt(count)); the error of a single value is None."""
    values = np.asarray(values, np.float64)
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    return values.mean(), error


def energy_over_draws(demonstrated, sampled):
    """demonstrated [M, L], sampled [M, K, L]: for each k, the energy distance between the M demonstrated chunks and the
    k-th sample of each observation, pooled; then mean and standard error over k."""
    sampled = np.asarray(sampled)
    return mean_and_standard_error([energy_distance(demonstrated, sampled[:, k]) for k in range(sampled.shape[1])])


if __name__ == "__main__":
    vector = json.loads(pathlib.Path(__file__).with_name("energy_vector.json").read_text())
    x, y, draws = (np.array(vector[key], np.float32) for key in ("x", "y", "draws"))
    assert abs(energy_distance(x, y) - vector["energy"]) < 1e-12
    mean, error = energy_over_draws(x, draws)
    assert abs(mean - vector["mean"]) < 1e-12 and abs(error - vector["standard_error"]) < 1e-12
    print("energy: agrees with the vector")
