"""``python -m export.single``: package -> one ONNX file, image to image, for any program that runs ONNX. No PyTorch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from runtime.cli.command import Parser, check_no_folder, run_command
from runtime.cli.streams import tell
from runtime.errors import InputError
from runtime.machine.files import write_file
from runtime.package.reading import Package

PRECISIONS = ("fp32", "fp16")
"""Of the packages that are taken."""


def main(argv: Sequence[str] | None = None) -> int:
    joined = "Join the graphs of a package and its sampling loop in one ONNX file"
    what = f"{joined}: image (1,3,H,W) float32 in 0..1 -> output, the same. No PyTorch is needed."
    parser = Parser(
        prog="python -m export.single",
        description=what,
        examples=("%(prog)s build/diffll-fp32 -o diffll.onnx --sampling fast",),
    )
    add = parser.add_argument
    add("package", type=Path, metavar="PACKAGE")
    add("-o", dest="output", type=Path, metavar="FILE", required=True, help="a .onnx; with --darktable a .dtmodel")
    one = "one that the package has (default: published; its noise is a second input)"
    add("--sampling", metavar="NAME", help=one)
    add("--opset", type=int, choices=(20, 21), help="version of ONNX's operators (default: 20, which most hosts read)")
    precision = "refuse a package of another: `python -m export.build --precision` makes one of each"
    add("--precision", choices=PRECISIONS, help=precision)
    add("--darktable", action="store_true", help="a .dtmodel for darktable 5.6: the file and its description, zipped")
    add("--overwrite", action="store_true", help="replace the file that is there")
    args = parser.parse_args(argv)
    if args.darktable and args.opset == 21:
        parser.error("--opset 21: darktable reads 20 at most; leave it out")
    check_file(args.output, ".dtmodel" if args.darktable else ".onnx", args.overwrite)
    package = Package.open(args.package)
    check_precision(package, args.precision)

    from runtime.cli.progress import Progress
    from runtime.running.arguments import choose_sampling

    sampling = choose_sampling(package.manifest, args.sampling, None, None)
    if args.darktable and sampling.start == "normal":
        cure = "give --sampling with one that starts from zero, such as fast"
        raise InputError(
            f"--darktable: {sampling.name} starts from noise, and darktable gives the photo alone; {cure}."
        )
    with Progress().task("joining the graphs"):
        from .joining.darktable import dtmodel
        from .joining.join import join

        model = join(package, sampling, args.opset or 20)
        content = dtmodel(model) if args.darktable else model.SerializeToString(deterministic=True)
        write(args.output, content, args.overwrite)
    tell(args.output)
    return 0


def check_file(output: Path, suffix: str, overwrite: bool) -> None:
    """Refuse, before any work, a place where the file cannot go. Raises InputError."""
    folder = output.parent
    if output.suffix != suffix:
        raise InputError(f"-o {output}: the name has to end in {suffix}.")
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"-o {output}: {folder} is not a folder that can be written; make it, or choose another.")
    check_no_folder(output)
    if os.path.lexists(output) and not overwrite:
        raise _taken(output)


def check_precision(package: Package, wanted: str | None) -> None:
    """Refuse a package of another precision than ``wanted``, or than any that is taken. Precision is in the graphs of
    a package, traced and certified so: nothing is converted here. Raises InputError."""
    found = package.manifest.precision
    if found not in PRECISIONS or wanted not in (None, found):
        wanted = wanted or " or ".join(PRECISIONS)
        cure = f"`python -m export.build --precision {wanted.split()[0]}` makes one from the checkpoint"
        raise InputError(f"{package.path}: a package in {found}, and {wanted} is wanted; {cure}.")


def write(output: Path, content: bytes, overwrite: bool) -> None:
    """The file, whole or not at all. Raises InputError."""
    target = Path(os.path.realpath(output)) if overwrite else output  # a symbolic link stays one
    try:
        with write_file(target, overwrite=overwrite) as file:
            file.write(content)
    except FileExistsError:
        raise _taken(output) from None
    except OSError as error:
        cure = f"free {len(content) / 1e6:.1f} MB or choose another place"
        raise InputError(f"-o {output}: cannot be written ({error.strerror or error}); {cure}.") from error


def _taken(output: Path) -> InputError:
    return InputError(f"-o {output}: a file is already there; give --overwrite to replace it, or another name.")


if __name__ == "__main__":
    run_command(main)
