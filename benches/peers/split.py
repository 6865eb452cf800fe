"""The validation split of advect (src/data/split.rs), so that another trainer holds out the same episodes.

Run as a script, it checks itself against split_vector.json, which advect's own test reads too.
"""
import json
import math
import pathlib

MASK = (1 << 64) - 1


def split_episodes(n, fraction, seed):
    """(train, validation): sorted lists of episode numbers. fraction is in [0, 1), n at least 1."""
    order, state = list(range(n)), seed & MASK
    for i in range(n - 1, 0, -1):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        j = (z ^ (z >> 31)) % (i + 1)
        order[i], order[j] = order[j], order[i]
    held = min(max(math.floor(fraction * n + 0.5), int(fraction > 0)), n - 1)
    return sorted(order[held:]), sorted(order[:held])


if __name__ == "__main__":
    for case in json.loads(pathlib.Path(__file__).with_name("split_vector.json").read_text()):
        train, validation = split_episodes(case["n"], case["fraction"], case["seed"])
        assert validation == case["validation"], case
        assert sorted(train + validation) == list(range(case["n"]))
    print("split: agrees with the vector")
