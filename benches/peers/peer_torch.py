"""PyTorch as a peer: eager, compiled, or compiled and captured in a CUDA graph (see bench_torch.py for the work itself)."""
import torch

import peer
import weights
from bench_torch import TRAIN_BATCH, WORKLOADS, device_name, sampling, training


def main():
    args = peer.arguments()
    device = "cuda" if args.device == "gpu" else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no CUDA device")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    condition_dim, make = WORKLOADS[args.workload]
    synchronise = torch.cuda.synchronize if device == "cuda" else lambda: None

    def prepare(what, batch):
        torch.compiler.reset()
        last = None
        network = make().to(device)
        weights.load(network, args.workload, args.weights)
        if what == "train":
            assert batch == TRAIN_BATCH, f"training is of batch {TRAIN_BATCH}"
            step = training(network, condition_dim, args.mode, device)
        else:
            noise, observation = (torch.from_numpy(a.copy()).to(device) for a in peer.rows(args, batch))
            step = sampling(network, noise, observation, args.steps, args.mode, args.workload.startswith("mlp"))

        def work():
            nonlocal last
            last = step()
            synchronise()

        return work, (lambda: last.cpu().numpy()) if what == "sample" else None

    where = device_name(device) if device == "cuda" else f"threads: {torch.get_num_threads()}"
    peer.serve(args, f"torch-{args.mode}", torch.__version__, where, prepare)


if __name__ == "__main__":
    main()
