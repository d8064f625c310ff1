"""``python -m export.build``: checkpoint -> model package, whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runtime.cli.command import Parser, run_command
from runtime.cli.streams import tell
from runtime.names import Precision
from runtime.package.writing import check_output, package_folder

from .files import bundled_checkpoint, bundled_samplings, check_checkpoint, suffix_of

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")
"""Those of a float network; ``python -m calibration`` makes int8."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m export.build",
        description="Build a model package (ONNX graphs, manifest, golden sample, certificate) from a checkpoint.",
        examples=(
            "%(prog)s",
            "%(prog)s model_latest.pth.tar -o build/mine --precision fp16",
        ),
    )
    known = "official .pth.tar, or .safetensors (default: the bundled one)"
    parser.add_argument("checkpoint", nargs="?", type=Path, metavar="CHECKPOINT", help=known)
    where = "the package (default: build/NAME-PRECISION)"
    parser.add_argument("-o", dest="output", type=Path, metavar="DIR", help=where)
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="default: fp32")
    samplings = (
        "beside the published one: those of a calibrated package of this checkpoint, or of a file (default: its own)"
    )
    parser.add_argument("--samplings", type=Path, metavar="PATH", help=samplings)
    parser.add_argument("--overwrite", action="store_true", help="replace the package that is in DIR")
    args = parser.parse_args(argv)
    path = args.checkpoint or bundled_checkpoint()
    check_checkpoint(path)
    name = "diffll" if args.checkpoint is None else path.name.removesuffix(suffix_of(path))
    output = args.output or Path("build") / f"{name}-{args.precision}"
    check_output(output, args.overwrite)

    from runtime.cli.progress import Progress

    progress = Progress()
    with progress.task("loading PyTorch and the checkpoint"):
        from .assemble import write_package
        from .checkpoint import load_checkpoint
        from .samplings import samplings_of

        checkpoint = load_checkpoint(path)
        bundled = bundled_samplings() if path == bundled_checkpoint() and not checkpoint.samplings else None
        more = samplings_of(checkpoint, args.samplings or bundled)
    with package_folder(output, args.overwrite) as work:  # renamed once it is whole and certified, or not at all
        write_package(work, checkpoint, args.precision, progress, more)
    tell(output)
    return 0


if __name__ == "__main__":
    run_command(main)
