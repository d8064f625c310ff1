"""``python -m export.build``: checkpoint -> model package, whole or not at all."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.cli.command import Parser, run_command
from runtime.names import Precision
from runtime.package.writing import check_output, package_folder

from .files import bundled_checkpoint, check_checkpoint, suffix_of

if TYPE_CHECKING:
    from runtime.cli.progress import Progress

    from .checkpoint import Checkpoint

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")
"""Those of a float network; ``python -m calibration`` makes int8."""


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
    path = args.checkpoint or bundled_checkpoint()
    check_checkpoint(path)
    name = "diffll" if args.checkpoint is None else path.name.removesuffix(suffix_of(path))
    output = args.output or Path("build") / f"{name}-{args.precision}"
    check_output(output, args.overwrite)

    from runtime.cli.progress import Progress

    progress = Progress()
    with progress.task("loading PyTorch and the checkpoint"):
        from .checkpoint import load_checkpoint

        checkpoint = load_checkpoint(path)
    build(checkpoint, output, args.precision, overwrite=args.overwrite, progress=progress)
    print(output)
    return 0


def build(
    checkpoint: Checkpoint, output: Path, precision: Precision = "fp32", *, overwrite: bool = False, progress: Progress
) -> Path:
    """Write the package of ``checkpoint`` to the directory ``output`` and return it.

    It is made beside its place, compared with the PyTorch model and then renamed: ``output`` holds a whole
    certified package or what it held before. Raises PackageError, InputError or CertificateError.
    """
    from .assemble import write_package

    with package_folder(output, overwrite) as work:
        write_package(work, checkpoint, precision, progress)
    return output


if __name__ == "__main__":
    run_command(main)
