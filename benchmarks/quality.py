"""``python -m benchmarks.quality``: how good are the photos a package makes, against reference photos."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.cli.command import Parser, run_command
from runtime.errors import InputError
from runtime.names import BACKENDS, FAST, PUBLISHED, SAMPLERS

if TYPE_CHECKING:
    from runtime.package.reading import Package

    from .job import Loop


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.quality",
        description="PSNR and SSIM of a package's results against reference photos, as a Markdown table.",
        examples=("%(prog)s build/diffll-fp32 eval15 --sampling published fast",),
    )
    parser.add_argument("package", metavar="PACKAGE")
    parser.add_argument("pairs", type=Path, metavar="PAIRS", help="a folder with low/ and high/, same file names")
    parser.add_argument("--sampling", nargs="+", default=[], metavar="NAME",
                        help=f"of the package, such as {PUBLISHED} and {FAST} (default: {PUBLISHED})")  # fmt: skip
    parser.add_argument("--steps", type=int, nargs="+", default=[], metavar="N", help="evenly spaced, from noise")
    parser.add_argument("--sampler", nargs="+", choices=SAMPLERS, default=["ddim"], metavar="NAME",
                        help=f"of --steps: {', '.join(SAMPLERS)} (default: ddim)")  # fmt: skip
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

    from .loops import call_arguments
    from .metrics import scores

    pairs = [(read_photo(low).pixels, read_photo(args.pairs / "high" / low.name).pixels) for low in lows]

    def row(loop: str, calls: object, photos: Sequence[Any], published: Sequence[Any] | None) -> None:
        found = np.array([scores(high, p) for (_, high), p in zip(pairs, photos, strict=True)])
        same = "-"
        if published is not None:
            same = f"{np.mean([psnr(one, p, 255) for one, p in zip(published, photos, strict=True)]):.2f}"
        each = ", ".join(f"{path.stem} {score:.2f}" for path, score in zip(lows, found[:, 0], strict=True))
        print(
            f"| {loop} | {calls} | {found[:, 0].mean():.2f} | {found[:, 1].mean():.3f} | {same} | {each} |",
            flush=True,
        )

    with Enhancer.open(args.package, backend=args.backend) as enhancer:
        loops = chosen(enhancer.package, args)  # a mistake is told before anything is run
        print("| sampling | calls | PSNR (dB) | SSIM | PSNR against published (dB) | PSNR of each photo |")
        print("|---|---|---|---|---|---|")
        row("input", "-", [low for low, _ in pairs], None)
        published = [enhancer(low, seed=args.seed) for low, _ in pairs]
        for loop in loops:
            if loop.sampling == PUBLISHED:
                row(PUBLISHED, loop.calls, published, None)
                continue
            words = call_arguments(enhancer.manifest, loop, args.seed)
            row(loop.words, loop.calls, [enhancer(low, **words) for low, _ in pairs], published)
    return 0


def chosen(package: Package, args: argparse.Namespace) -> list[Loop]:
    """The samplings, then the steps of each sampler: of several samplers ddim runs those that it can. Raises
    InputError."""
    from .loops import Loops

    loops = Loops(samplings=args.sampling).of(package) if args.sampling else []
    total, several = package.manifest.num_train_timesteps, len(args.sampler) > 1
    for sampler in sorted(args.sampler, key=SAMPLERS.index):
        steps = [one for one in args.steps if not several or sampler != "ddim" or (one > 0 and total % one == 0)]
        if steps or not (args.steps or args.sampling):
            loops += Loops(steps, sampler=sampler).of(package)
    return list(dict.fromkeys(loops))


if __name__ == "__main__":
    run_command(main)
