"""advect's random numbers in numpy: Philox4x32-10 keyed by (seed, stream), counted by (element, step); uniforms in the middle of 2^23
equal parts, normals by Box and Muller. Written from the paper (Salmon 2011) and src/kernel/philox.rs's first comment.
"""
import numpy as np

INDEX, TIME, NOISE = 0x10, 0x11, 0x12  # streams of a training step: src/objective/task.rs


def philox(counter, key):
    """Ten rounds for columns of four counters."""
    c, mask, shift = [x.astype(np.uint64) for x in counter], np.uint64(0xFFFFFFFF), np.uint64(32)
    k0, k1 = key
    for _ in range(10):
        p, q = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(q >> shift) ^ c[1] ^ np.uint64(k0), q & mask, (p >> shift) ^ c[3] ^ np.uint64(k1), p & mask]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, 1)


def integers(seed, stream, step, n):
    """Seeds and steps below 2^32."""
    blocks = np.arange((n + 3) // 4)
    none = np.zeros_like(blocks)
    return philox([blocks, none, none + step, none], (seed, stream)).reshape(-1)[:n]


def indices(seed, stream, step, n, below):
    return ((integers(seed, stream, step, n) * np.uint64(below)) >> np.uint64(32)).astype(np.int64)


def uniforms(seed, stream, step, n):
    return ((integers(seed, stream, step, n) >> np.uint64(9)).astype(np.float64) + 0.5) * 2.0**-23


def normals(seed, stream, step, n):
    u = uniforms(seed, stream, step, (n + 3) // 4 * 4).reshape(-1, 2)
    radius, angle = np.sqrt(-2 * np.log(u[:, 0])), 2 * np.pi * u[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)[:n]
