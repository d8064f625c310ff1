"""``python -m benchmarks.eager``: packages and backends beside the PyTorch model in eager mode, in turns in one run."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from runtime.command import Parser, run_command

EAGER = "PyTorch eager"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.eager",
        description="Time one photo through packages and through the PyTorch model of their checkpoint, in turns.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="what the packages were built from")
    parser.add_argument("photo", type=Path, metavar="PHOTO")
    parser.add_argument("packages", nargs="+", metavar="PACKAGE[:BACKEND]", help="default backend: onnxruntime")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)

    import numpy as np
    import torch

    from export.checkpoint import load_checkpoint
    from runtime.enhancer import Enhancer
    from runtime.image import to_pixels, to_tensor
    from runtime.photo import read_photo
    from runtime.threads import usable_cores

    torch.set_num_threads(usable_cores())
    model = load_checkpoint(args.checkpoint).model()
    photo = read_photo(args.photo).pixels
    height, width, _ = photo.shape
    runs: dict[str, Callable[[], np.ndarray]] = {}
    with ExitStack() as stack:
        for one in args.packages:
            package, _, backend = one.partition(":")
            enhancer = stack.enter_context(Enhancer.open(package, backend=backend or "onnxruntime"))
            noise = np.random.default_rng(0).standard_normal(enhancer.noise_shape(height, width), np.float32)
            name = f"{enhancer.backend.name} {enhancer.manifest.precision}"
            runs[name] = partial(enhancer, photo, noise=noise)

        def eager() -> np.ndarray:
            with torch.inference_mode():
                image = torch.from_numpy(to_tensor(photo[None], model.arch.pad_multiple))
                restored = model(image, torch.from_numpy(noise[None]))
                return to_pixels(restored.numpy(), height, width, photo.dtype)[0]

        runs = {EAGER: eager} | runs
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        pictures = {name: run().astype(int) for name, run in runs.items()}  # warm-up
        load = os.getloadavg()[0]
        for _ in range(args.rounds):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
    base = statistics.median(seconds[EAGER])
    print(
        f"{width}x{height}, 10 steps, {usable_cores()} cores, {args.rounds} rounds in turns, "
        f"load {load:.1f} before and {os.getloadavg()[0]:.1f} after"
    )
    print("| engine | median s | min s | max s | times eager | largest difference (grey levels) |")
    print("|---|---|---|---|---|---|")
    for name, times in seconds.items():
        median = statistics.median(times)
        levels = np.abs(pictures[name] - pictures[EAGER]).max()
        print(f"| {name} | {median:.3f} | {min(times):.3f} | {max(times):.3f} | {base / median:.2f} | {levels} |")
    return 0


if __name__ == "__main__":
    run_command(main)
