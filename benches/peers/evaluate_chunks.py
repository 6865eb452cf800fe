"""Measures action chunks that any program sampled for the Push-T validation windows.

First `--dump-obs obs.npy` writes the observations [M, 2, 36] (raw, oldest first) to sample for; then `--actions
actions.npy` reads [M, N, 16, 2] in pixels: N chunks for each of those observations, each one evaluation.
"""
import argparse
import json

import numpy as np

import pusht


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pusht.add_data_arguments(parser)
    parser.add_argument("--dump-obs", metavar="FILE.npy", help="write the evaluated observations")
    parser.add_argument("--actions", metavar="FILE.npy", help="read sampled chunks and print their metrics as JSON")
    args = parser.parse_args()
    if not (args.dump_obs or args.actions):
        parser.error("say --dump-obs or --actions")

    data = pusht.load(args.data, args.split_seed, args.split)
    obs = data.evaluated.obs
    if args.dump_obs:
        np.save(args.dump_obs, obs.astype(np.float32))
    if args.actions:
        actions = np.load(args.actions)
        expected = (len(obs), *actions.shape[1:2], *data.evaluated.action.shape[1:])
        if actions.shape != expected:
            parser.error(f"{args.actions} has shape {actions.shape}; needed [{len(obs)}, N, 16, 2]")
        if not np.isfinite(actions).all():
            parser.error(f"{args.actions} holds values that are not finite")
        metrics = pusht.Metrics(data)
        samples = [data.normaliser.normalised_action(obs, actions[:, n]) for n in range(actions.shape[1])]
        print(json.dumps({"evaluated_windows": len(obs), "samples_per_window": len(samples),
                          **metrics(samples), "references": metrics.references()}, indent=1))


if __name__ == "__main__":
    main()
