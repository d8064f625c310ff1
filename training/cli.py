"""``python -m training``: photos -> a checkpoint in the authors' layout."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from runtime.cli.command import Parser
from runtime.cli.streams import tell
from runtime.errors import BackendUnavailableError, InputError

from .options import Options

_STEPS = 200


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m training",
        description="Train a DiffLL on photos, from a checkpoint or anew: the paper's four losses, forward diffusion "
        "and the sampling loop both in the training. The result is what `python -m export.build` takes.",
    )
    add = parser.add_argument
    add("photos", type=Path, metavar="PHOTOS", help="a folder: dark photos, or bright ones with --darken")
    add("-o", dest="output", type=Path, required=True, metavar="CHECKPOINT", help=".pth.tar or .safetensors")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--references", type=Path, metavar="DIR", help="the bright photo of each dark one, with the same name"
    )
    source.add_argument("--darken", action="store_true", help="PHOTOS are bright: darken them as a camera would")
    add("--evaluate", type=Path, metavar="PAIRS", help="a folder with low/ and high/: scores and pictures of them")
    add("--init", type=Path, metavar="CHECKPOINT", help="start from it (default: a new network)")
    add("--width", type=int, default=32, metavar="N", help="channels of a new network (default: %(default)s)")
    few = "train few calls from zero end to end, such as 80,40 (several: the first becomes the package's `fast`)"
    add("--timesteps", type=_timesteps, nargs="+", default=[], metavar="T,T", help=few)
    limit = parser.add_mutually_exclusive_group(required=True)
    limit.add_argument("--iterations", type=int, metavar="N")
    limit.add_argument("--minutes", type=float, metavar="N", help="in all, with the start and the last evaluation")
    add("--batch", type=int, default=4, metavar="N", help="patches an iteration (default: %(default)s)")
    add("--patch", type=int, default=128, metavar="N", help="pixels a side; half of it at first (%(default)s)")
    add("--learning-rate", type=float, default=2e-4, metavar="X", help="the highest (default: %(default)s)")
    add("--device", default="", metavar="NAME", help="cpu, cuda (default: cuda where there is one)")
    add("--precision", choices=("fp32", "bf16"), help="of the autocast (default: bf16 on cuda, else fp32)")
    workers = "processes that make the batches (default: one less than there are cores)"
    add("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), metavar="N", help=workers)
    add("--seed", type=int, default=0, metavar="N")
    add("--overwrite", action="store_true", help="replace the checkpoint that is there")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    started = time.monotonic()
    args = parse_args(argv)
    if not args.darken and args.references is None:
        raise InputError("neither --references nor --darken was given: say how the photos should come out.")

    from runtime.cli.progress import Progress

    progress = Progress()
    try:
        with progress.task("loading PyTorch"):
            import torch

            from .run import train
    except ImportError as error:
        raise BackendUnavailableError(f"training: {error}; `pip install 'diffll-deploy[export]'`.") from error
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    options = Options(
        photos=args.photos,
        output=args.output,
        references=args.references,
        evaluate=args.evaluate,
        init=args.init,
        width=args.width,
        samplings=tuple(args.timesteps),
        iterations=args.iterations,
        minutes=args.minutes,
        batch=args.batch,
        patch=args.patch,
        learning_rate=args.learning_rate,
        device=device,
        precision=args.precision or ("bf16" if device.startswith("cuda") else "fp32"),
        workers=args.workers,
        seed=args.seed,
    )
    train(options, started, progress)
    tell(args.output)
    return 0


def _timesteps(text: str) -> tuple[int, ...]:
    try:
        steps = tuple(map(int, text.split(",")))
    except ValueError:
        steps = ()
    if not steps or any(not 0 <= t < _STEPS for t in steps) or list(steps) != sorted(set(steps), reverse=True):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of falling timesteps from 0 to {_STEPS - 1}")
    return steps
