"""``python -m serving.triton``: a package as a Triton model repository."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.cli.command import Parser
from runtime.names import BACKENDS, PUBLISHED


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m serving.triton",
        description="Write a model repository for NVIDIA's Triton: the model `diffll` hosts the runtime (photos in and "
        "out), and `diffll_onnx` is one ONNX file for Triton's onnxruntime backend.",
        examples=("%(prog)s build/diffll-fp32 -o models --sampling fast",),
    )
    add = parser.add_argument
    add("package", metavar="PACKAGE", help="a package directory made by `python -m export.build`")
    add("-o", dest="output", type=Path, required=True, metavar="REPOSITORY", help="a folder that is not there yet")
    add("--backend", choices=BACKENDS, default="onnxruntime", metavar="NAME", help=", ".join(BACKENDS))
    add("--sampling", default=PUBLISHED, metavar="NAME", help="for requests that name none (default: %(default)s)")
    single = "made by `python -m export.single` with a sampling that starts from zero: it becomes `diffll_onnx`"
    add("--single", type=Path, metavar="FILE.onnx", help=single)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from .repository import write

    write(args.package, args.output, args.backend, args.sampling, args.single)
    print(args.output)
    print(f"start it: tritonserver --model-repository {args.output}", file=sys.stderr)
    return 0
