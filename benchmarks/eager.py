"""``python -m benchmarks.eager``: a package beside the PyTorch model in eager mode, interleaved in one run."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from runtime.command import Parser, run_command


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.eager",
        description="Time one photo through a package and through the PyTorch model of its checkpoint, in turns.",
    )
    parser.add_argument("package", metavar="PACKAGE")
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="what the package was built from")
    parser.add_argument("photo", type=Path, metavar="PHOTO")
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

    with Enhancer.open(args.package) as enhancer:
        noise = np.random.default_rng(0).standard_normal(enhancer.noise_shape(height, width), np.float32)

        def eager() -> np.ndarray:
            with torch.inference_mode():
                image = torch.from_numpy(to_tensor(photo[None], model.arch.pad_multiple))
                restored = model(image, torch.from_numpy(noise[None]))
                return to_pixels(restored.numpy(), height, width, photo.dtype)[0]

        runs: dict[str, Callable[[], np.ndarray]] = {
            "PyTorch eager": eager,
            enhancer.backend.name: lambda: enhancer(photo, noise=noise),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        pictures = {name: run() for name, run in runs.items()}  # warm-up
        for _ in range(args.rounds):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
    base = statistics.median(seconds["PyTorch eager"])
    levels = int(np.abs(np.subtract(*(picture.astype(int) for picture in pictures.values()))).max())
    print(f"{width}x{height}, 10 steps, {usable_cores()} cores, {args.rounds} rounds in turns, seconds a photo")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:16s} median {median:.3f}  min {min(times):.3f}  max {max(times):.3f}  {base / median:.2f}x")
    print(f"largest difference between the two pictures: {levels} grey level(s)")
    return 0


if __name__ == "__main__":
    run_command(main)
