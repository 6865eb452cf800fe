"""Trains the Push-T reference policy in PyTorch and measures its sampled chunks against held-out demonstrations."""
import argparse
import json
import math
import time

import torch
from safetensors.torch import save_file

import pusht
from flow import Ema, ResidualMlp, cfm_loss, euler_sampler

WIDTH, BLOCKS = 384, 2
BATCH, LEARNING_RATE, BETAS, WEIGHT_DECAY = 256, 1e-3, (0.95, 0.999), 1e-6
WARM_UP, CLIP, EMA_DECAY = 500, 1.0, 0.999
SOLVER_STEPS, EVALUATION_SEEDS = 10, 5


def learning_rate_factor(step, steps):
    """Linear warm-up, then a cosine to zero."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / max(steps - WARM_UP, 1)))


def train(network, condition, action, steps, log_every):
    """Returns the loss averaged over the last `log_every` steps; the network ends with its averaged weights."""
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, BETAS, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_factor(step, steps))
    ema = Ema(network, EMA_DECAY)
    recent = []
    for step in range(1, steps + 1):
        rows = torch.randint(len(action), (BATCH,))
        loss = cfm_loss(network, action[rows], condition[rows])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()
        schedule.step()
        ema.update()
        recent = (recent + [loss.item()])[-log_every:]
        if step % log_every == 0:
            print(f"step {step} loss {sum(recent) / len(recent):.5f}", flush=True)
    ema.copy_to(network)
    return sum(recent) / len(recent)


@torch.inference_mode()
def sample_chunks(network, data, seeds):
    """One normalised chunk per evaluated validation window and seed."""
    condition = data.normaliser.normalised_obs(data.evaluated.obs)
    sampler = euler_sampler(network, SOLVER_STEPS)
    for seed in range(seeds):
        noise = torch.randn(len(condition), network.action_dim, generator=torch.Generator().manual_seed(seed))
        yield sampler(noise, condition)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    pusht.add_data_arguments(parser)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log-every", type=int, default=500)
    parser.add_argument("--out", metavar="FILE.safetensors", help="where the averaged weights go")
    parser.add_argument("--report", metavar="FILE.json", help="also write the printed JSON here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    data = pusht.load(args.data, args.split_seed, args.split)
    condition = data.normaliser.normalised_obs(data.train.obs)
    action = data.normaliser.normalised_action(data.train.obs, data.train.action)
    network = ResidualMlp(action.shape[1], condition.shape[1], WIDTH, BLOCKS)

    begun = time.perf_counter()
    final_loss = train(network, condition, action, args.steps, args.log_every)
    seconds = time.perf_counter() - begun
    if args.out:
        save_file(network.state_dict(), args.out)

    metrics = pusht.Metrics(data)
    report = {
        "steps": args.steps, "seed": args.seed, "split_seed": None if args.split else args.split_seed,
        "threads": args.threads, "torch": torch.__version__, "seconds": round(seconds, 1), "final_loss": final_loss,
        "parameters": sum(p.numel() for p in network.parameters()), "solver": f"euler:{SOLVER_STEPS}",
        "train_windows": len(data.train), "validation_windows": len(data.validation),
        "evaluated_windows": len(data.evaluated), "validation_episodes": data.validation_ids,
        **metrics(list(sample_chunks(network, data, EVALUATION_SEEDS))), "references": metrics.references(),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if args.report:
        with open(args.report, "w") as f:
            f.write(text + "\n")


if __name__ == "__main__":
    main()
