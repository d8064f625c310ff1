"""``python -m benchmarks.quality``: how good are the photos a package makes, against reference photos."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.cli.command import Parser, run_command
from runtime.errors import InputError
from runtime.names import BACKENDS, SAMPLERS


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.quality",
        description="PSNR and SSIM of a package's results against reference photos, as a Markdown table.",
    )
    parser.add_argument("package", metavar="PACKAGE")
    parser.add_argument("pairs", type=Path, metavar="PAIRS", help="a folder with low/ and high/, same file names")
    parser.add_argument("--steps", type=int, nargs="+", default=[10], metavar="N", help="default: 10")
    parser.add_argument("--sampler", nargs="+", choices=SAMPLERS, default=["ddim"], metavar="NAME",
                        help=f"{', '.join(SAMPLERS)} (default: ddim)")  # fmt: skip
    parser.add_argument("--backend", choices=BACKENDS, default="onnxruntime", metavar="NAME",
                        help=f"{', '.join(BACKENDS)} (default: onnxruntime)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    lows = sorted(path for path in (args.pairs / "low").glob("*") if (args.pairs / "high" / path.name).is_file())
    if not lows:
        raise InputError(f"{args.pairs}: no photo is in both low/ and high/; give a folder that has such pairs.")

    import numpy as np

    from runtime.enhancer import Enhancer
    from runtime.image import psnr
    from runtime.photo import read_photo
    from runtime.sampler import check_steps

    from .metrics import scores

    pairs = [(read_photo(low).pixels, read_photo(args.pairs / "high" / low.name).pixels) for low in lows]

    def row(sampler: str, steps: object, photos: Sequence[Any], published: Sequence[Any] | None) -> None:
        found = np.array([scores(high, p) for (_, high), p in zip(pairs, photos, strict=True)])
        same = "-"
        if published is not None:
            same = f"{np.mean([psnr(one, p, 255) for one, p in zip(published, photos, strict=True)]):.2f}"
        each = ", ".join(f"{path.stem} {score:.2f}" for path, score in zip(lows, found[:, 0], strict=True))
        print(
            f"| {sampler} | {steps} | {found[:, 0].mean():.2f} | {found[:, 1].mean():.3f} | {same} | {each} |",
            flush=True,
        )

    with Enhancer.open(args.package, backend=args.backend) as enhancer:
        total, default = enhancer.manifest.num_train_timesteps, enhancer.manifest.num_inference_steps
        for sampler in args.sampler:  # a name that is not known is told before anything is run
            check_steps(total, default, sampler)
        print("| sampler | steps | PSNR (dB) | SSIM | PSNR against the 10 published steps (dB) | PSNR of each photo |")
        print("|---|---|---|---|---|---|")
        row("input", "-", [low for low, _ in pairs], None)
        published = [enhancer(low, seed=args.seed) for low, _ in pairs]
        for sampler in sorted(args.sampler, key=SAMPLERS.index):
            for steps in args.steps:
                if (sampler, steps) == ("ddim", default):
                    row(sampler, steps, published, None)
                elif sampler != "ddim" or total % steps == 0:
                    photos = [enhancer(low, steps=steps, sampler=sampler, seed=args.seed) for low, _ in pairs]
                    row(sampler, steps, photos, published)
    return 0


if __name__ == "__main__":
    run_command(main)
