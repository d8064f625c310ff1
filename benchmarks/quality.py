"""``python -m benchmarks.quality``: how good are the photos a package makes, against reference photos."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from runtime.command import Parser, run_command
from runtime.errors import InputError


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.quality",
        description="PSNR and SSIM of a package's results against reference photos, as a Markdown table.",
    )
    parser.add_argument("package", metavar="PACKAGE")
    parser.add_argument("pairs", type=Path, metavar="PAIRS", help="a folder with low/ and high/, same file names")
    parser.add_argument("--steps", type=int, nargs="+", default=[10], metavar="N", help="default: 10")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    lows = sorted(path for path in (args.pairs / "low").glob("*") if (args.pairs / "high" / path.name).is_file())
    if not lows:
        raise InputError(f"{args.pairs}: no photo is in both low/ and high/; give a folder that has such pairs.")

    import numpy as np

    from runtime.enhancer import Enhancer
    from runtime.photo import read_photo

    from .metrics import psnr, ssim

    pairs = [(read_photo(low).pixels, read_photo(args.pairs / "high" / low.name).pixels) for low in lows]

    def row(name: str, photos: Sequence[object]) -> None:
        scores = np.array([[psnr(high, p), ssim(high, p)] for (_, high), p in zip(pairs, photos, strict=True)])
        each = ", ".join(f"{path.stem} {score:.2f}" for path, score in zip(lows, scores[:, 0], strict=True))
        print(f"| {name} | {scores[:, 0].mean():.2f} | {scores[:, 1].mean():.3f} | {each} |", flush=True)

    print("| steps | PSNR (dB) | SSIM | PSNR of each photo |\n|---|---|---|---|")
    row("input", [low for low, _ in pairs])
    with Enhancer.open(args.package) as enhancer:
        for steps in args.steps:
            row(str(steps), [enhancer(low, steps=steps, seed=args.seed) for low, _ in pairs])
    return 0


if __name__ == "__main__":
    run_command(main)
