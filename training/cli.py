"""``python -m training``: photos -> a checkpoint in the authors' layout."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from export.files import SUFFIXES, check_checkpoint, suffix_of
from runtime.cli.alone import only_run, state_folder
from runtime.cli.command import Parser
from runtime.cli.streams import tell
from runtime.errors import BackendUnavailableError, EngineError, InputError, one_line, out_of_memory
from runtime.machine.host import read_cpuinfo

from .options import Options, Weights

if TYPE_CHECKING:
    import torch

_TOTAL = 200  # num_train_timesteps
_BF16 = {"amx_bf16", "avx512_bf16"}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m training",
        description="Train a DiffLL on photos, from a checkpoint or anew: the paper's four losses, forward diffusion "
        "and the sampling loop both in the training. The result is what `python -m export.build` takes. Given again, "
        "the command goes on with a training that was killed.",
        examples=(
            "%(prog)s low --references high -o build/mine.safetensors",
            "%(prog)s photos --darken -o build/mine.safetensors --minutes 60",
        ),
    )
    add = parser.add_argument
    add("photos", type=Path, metavar="PHOTOS", help="a folder: dark photos, or bright ones with --darken")
    add("-o", dest="output", type=Path, required=True, metavar="CHECKPOINT", help=".pth.tar or .safetensors")
    goal = parser.add_mutually_exclusive_group()
    references = "how the photos should come out: files of the same names"
    goal.add_argument("--references", type=Path, metavar="DIR", help=references)
    goal.add_argument("--darken", action="store_true", help="PHOTOS are bright: darken them as a camera would")
    teacher = "start from it (default: a new network); its published pictures are the goal where no other is given"
    add("--init", type=Path, metavar="CHECKPOINT", help=teacher)
    few = "train few calls from zero end to end, such as 80,40; several: the first becomes the package's `fast`"
    add("--timesteps", type=_timesteps, nargs="+", default=[], metavar="T,T", help=few)
    limit = parser.add_mutually_exclusive_group(required=True)
    limit.add_argument("--iterations", type=_whole, metavar="N")
    limit.add_argument("--minutes", type=_number, metavar="N", help="in all, with the start and the last evaluation")
    add("--evaluate", type=Path, metavar="PAIRS", help="a folder with low/ and high/: scores and pictures of them")
    add(
        "--width",
        type=_whole,
        default=32,
        metavar="N",
        help="channels of a new network, such as 64 (%(default)s)",
    )
    batch = "patches an iteration, three times as many of the small ones (%(default)s)"
    add("--batch", type=_whole, default=4, metavar="N", help=batch)
    add("--patch", type=_whole, default=128, metavar="N", help="pixels a side; half of it at first (%(default)s)")
    add("--learning-rate", type=_number, default=2e-4, metavar="X", help="the highest (%(default)s)")
    weights = f"of a loss: {', '.join(f'{one.name}={one.default:g}' for one in fields(Weights))}"
    add("--weight", type=_weight, nargs="+", default=[], metavar="LOSS=X", help=weights)
    add("--device", default="", metavar="NAME", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    precision = "of the autocast (default: bf16 on cuda and on processors that have it)"
    add("--precision", choices=("fp32", "bf16"), help=precision)
    workers = "processes that make the batches; 0: this one (default: one less than there are cores)"
    add("--workers", type=_count, default=max(1, (os.cpu_count() or 2) - 1), metavar="N", help=workers)
    add("--seed", type=_count, default=0, metavar="N")
    keep = "minutes between two states that a killed training goes on from (%(default)s)"
    add("--keep-every", type=_number, default=1.0, metavar="N", help=keep)
    add("--overwrite", action="store_true", help="replace the checkpoint that is there")
    args = parser.parse_args(argv)
    if args.width % 32:
        parser.error(f"--width is {args.width}; a multiple of 32 is wanted")
    if not args.darken and args.references is None and not (args.init and args.timesteps):
        parser.error("say how the photos should come out: --references DIR; or --darken, where they are bright; or "
                     "--init and --timesteps, to come near that network's published pictures in few calls")  # fmt: skip
    if len({len(steps) for steps in args.timesteps}) < len(args.timesteps):
        parser.error("--timesteps: two of them have as many calls; give one of each")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    started = time.monotonic()
    args = parse_args(argv)
    _check_output(args.output, args.overwrite)
    if args.init:
        check_checkpoint(args.init)

    from runtime.cli.progress import Progress

    progress = Progress()
    with progress.task("loading PyTorch"):
        import torch

        from .run import Training
    device = _device(args.device)
    with only_run(args.output, "training"):
        try:
            Training(_options(args, device), started, progress).run()
        except KeyboardInterrupt:
            if (state_folder(args.output, "training") / "state.pt").exists():
                progress.note("the same command goes on from the state that was kept")
            raise
        except RuntimeError as error:
            if "DataLoader worker" in str(error):
                raise EngineError(
                    f"a process that makes batches ended ({one_line(error)}); the same command goes on from the state "
                    f"that was kept. Where memory ran out, give fewer --workers (now {args.workers})."
                ) from error
            if not isinstance(error, torch.OutOfMemoryError) and not out_of_memory(error):
                raise
            raise EngineError(f"{device}: out of memory; give a smaller --batch (now {args.batch}).") from error
    tell(args.output)
    return 0


def _options(args: argparse.Namespace, device: torch.device) -> Options:
    goal = "references" if args.references else "darkened" if args.darken else "teacher"
    fast = device.type == "cuda" or bool(_BF16 & read_cpuinfo()[1])
    given = {one.name: getattr(args, one.name) for one in fields(Options) if hasattr(args, one.name)}
    return Options(
        **given
        | {
            "goal": goal,
            "samplings": tuple(args.timesteps),
            "device": str(device),
            "precision": args.precision or ("bf16" if fast else "fp32"),
            "weights": replace(Weights(), **dict(args.weight)),
        }
    )


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise InputError(f"--device {name}: no device of PyTorch's; cpu, cuda and cuda:1 are such.") from error
    if device.type not in ("cpu", "cuda") or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise InputError(f"--device {name}: not a device that a network is trained on here; give cpu, or leave it out.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailableError(
            f"--device {name}: this PyTorch ({torch.__version__}) finds no NVIDIA GPU; install a build for your CUDA, "
            "or give --device cpu."
        )
    return device


def _check_output(output: Path, overwrite: bool) -> None:
    if not suffix_of(output):
        raise InputError(f"{output}: not a checkpoint's name; known are {', '.join(SUFFIXES)}.")
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise InputError(f"{output}: a folder, or in one that does not exist; name a file in a folder that does.")
    if output.exists() and not overwrite and not (state_folder(output, "training") / "state.pt").exists():
        raise InputError(f"{output}: exists already; give another -o, or --overwrite.")


def _timesteps(text: str) -> tuple[int, ...]:
    try:
        steps = tuple(map(int, text.split(",")))
    except ValueError:
        steps = ()
    if not steps or any(not 0 <= t < _TOTAL for t in steps) or list(steps) != sorted(set(steps), reverse=True):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of falling timesteps from 0 to {_TOTAL - 1}")
    return steps


def _weight(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    name = name.replace("-", "_")
    if name not in {one.name for one in fields(Weights)}:
        raise argparse.ArgumentTypeError(f"{text!r} names no loss; such as content=0.5 is wanted")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} gives no weight from 0 to 1e6")
    return name, number


def _number(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def _whole(text: str) -> int:
    value = _count(text)
    if value == 0:
        raise argparse.ArgumentTypeError("0 is too few")
    return value
