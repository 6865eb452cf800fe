"""ONNX Runtime as a peer, on the CPU or through its WebGPU provider.

The graph is PyTorch's, exported: of the MLPs all Euler steps at once, since calls from Python would cost more than the work; of the
larger networks one step, which Python calls, since each product of an unrolled graph would pack weights of its own. Inputs and
outputs are bound on the session's device, and the batch is fixed when the session is made.
"""
import numpy as np
import onnxruntime as ort

import peer

PROVIDERS = {"cpu": "CPUExecutionProvider", "gpu": "WebGpuExecutionProvider"}


def session(args, batch, provider):
    options = ort.SessionOptions()
    options.intra_op_num_threads = args.threads
    # Threads spin during a run, which is fast, and stop with it: they must not disturb the other peers' turns.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_free_dimension_override_by_name("batch", batch)
    options.log_severity_level = 3
    return ort.InferenceSession(args.model, options, providers=[provider], enable_fallback=0)


def time_embeddings(steps, dim):
    """As flow.time_embedding, without PyTorch."""
    half = dim // 2
    frequencies = np.exp(np.arange(half) * (-np.log(1e4) / (half - 1)))
    angles = (np.arange(steps) / steps)[:, None] * 99.0 * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], -1).astype(np.float32)


def bound(made, device, **inputs):
    """A binding with inputs, which go to the session's device here and now, and an output that stays there."""
    binding = made.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array)))
    binding.bind_output("output", device)
    return binding


def whole_loop(made, noise, observation, device):
    """One call."""
    binding = bound(made, device, noise=noise, observation=observation)

    def run():
        made.run_with_iobinding(binding)
        return binding

    return run


def step_by_step(made, noise, observation, device, steps):
    """A binding for each step; its output is the next one's input."""
    width = next(i.shape[1] for i in made.get_inputs() if i.name == "embedding")
    embeddings = time_embeddings(steps, width)
    bindings = [bound(made, device, noise=noise, embedding=e[None], observation=observation) for e in embeddings]

    def run():
        for binding, following in zip(bindings, [*bindings[1:], None]):
            made.run_with_iobinding(binding)
            if following:
                following.bind_ortvalue_input("noise", binding.get_outputs()[0])
        return bindings[-1]

    return run


def main():
    args = peer.arguments()
    provider = PROVIDERS[args.device]
    if provider not in ort.get_available_providers():
        raise SystemExit(f"onnxruntime {ort.__version__} has no {provider}, only {', '.join(ort.get_available_providers())}")

    def prepare(what, batch):
        if what == "train":
            raise peer.Unable("inference only")
        noise, observation = peer.rows(args, batch)
        made, device, last = session(args, batch, provider), "cpu" if args.device == "cpu" else "webgpu", None
        if any(i.name == "embedding" for i in made.get_inputs()):
            run = step_by_step(made, noise, observation, device, args.steps)
        else:
            run = whole_loop(made, noise, observation, device)

        def work():
            nonlocal last
            # The provider's work is surely over when the chunks are on the host; on the CPU they are there already.
            last = run().copy_outputs_to_cpu()[0] if device == "webgpu" else run().get_outputs()[0]

        return work, lambda: last if device == "webgpu" else last.numpy()

    name = "onnxruntime" if args.device == "cpu" else "onnxruntime-webgpu"
    where = f"threads: {args.threads}" if args.device == "cpu" else "the adapter that Dawn chooses"
    peer.serve(args, name, ort.__version__, where, prepare)


if __name__ == "__main__":
    main()
