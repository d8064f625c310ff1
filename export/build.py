"""``python -m export.build``: checkpoint -> model package, whole or not at all."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.command import Parser, run_command
from runtime.errors import InputError

if TYPE_CHECKING:
    from .checkpoint import Checkpoint
    from .progress import Progress

PRECISIONS = ("fp32", "fp16", "bf16")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m export.build",
        description="Build a model package (ONNX graphs, manifest, golden sample, certificate) from a checkpoint.",
    )
    parser.add_argument(
        "checkpoint",
        nargs="?",
        type=Path,
        metavar="CHECKPOINT",
        help="official .pth.tar, or .safetensors (default: the bundled one)",
    )
    parser.add_argument(
        "-o", dest="output", type=Path, metavar="DIR", help="the package (default: build/NAME-PRECISION)"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="default: fp32")
    parser.add_argument("--overwrite", action="store_true", help="replace the package that is in DIR")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    name = "diffll" if args.checkpoint is None else _stem(args.checkpoint)
    output = args.output or Path("build") / f"{name}-{args.precision}"
    check_destination(output, args.overwrite)

    from .progress import Progress

    progress = Progress()
    with progress.task("loading PyTorch and the checkpoint"):
        from .checkpoint import load_checkpoint
        from .samples import bundled_checkpoint

        checkpoint = load_checkpoint(args.checkpoint or bundled_checkpoint())
    build(checkpoint, output, args.precision, overwrite=args.overwrite, progress=progress)
    print(output)
    return 0


def build(
    checkpoint: Checkpoint, output: Path, precision: str = "fp32", *, overwrite: bool = False, progress: Progress
) -> Path:
    """Write the package of ``checkpoint`` to the directory ``output`` and return it.

    It is made beside its place, compared with the PyTorch model and then renamed: ``output`` holds a whole
    certified package or what it held before. Raises PackageError, InputError or CertificateError.
    """
    from .write import write_package

    check_destination(output, overwrite)
    model = checkpoint.model()
    work = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        work.parent.mkdir(parents=True, exist_ok=True)
        work.mkdir()
        write_package(work, checkpoint, model, precision, progress)
        _put_in_place(work, output, overwrite)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{output}: cannot write the package ({reason}); free space or choose another -o.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return output


def check_destination(output: Path, overwrite: bool) -> None:
    """Refuse, before any work, a place where the package cannot go. Raises InputError."""
    if not os.path.lexists(output):
        parent = next(folder for folder in output.absolute().parents if folder.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise InputError(f"{output}: {parent} is not a folder that can be written; choose another -o.")
    elif not (output / "manifest.json").is_file():
        raise InputError(f"{output}: exists and is no package; nothing was touched. Choose another -o.")
    elif not overwrite:
        raise InputError(f"{output}: a package is already there; give --overwrite to replace it, or another -o.")


def _stem(checkpoint: Path) -> str:
    name = checkpoint.name
    for suffix in (".safetensors", ".tar", ".pth", ".pt"):
        name = name.removesuffix(suffix)
    return name


def _put_in_place(work: Path, output: Path, overwrite: bool) -> None:
    if not overwrite or not output.exists():
        os.rename(work, output)  # fails if somebody else made a package there meanwhile
        return
    old = work.with_suffix(".old")
    os.rename(output, old)
    os.rename(work, output)
    shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    run_command(main)
