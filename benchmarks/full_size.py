"""``python -m benchmarks.full_size``: a checkpoint of the official network's size, with random weights.

Speed does not depend on the weights' values; this is what the speed of the official network is measured with where its
weights are not at hand. Pictures that it makes mean nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from runtime.cli.command import Parser, check_no_folder, run_command
from runtime.errors import InputError


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.full_size",
        description="Write a checkpoint of the official network's size with random weights, to measure speed with.",
        examples=("%(prog)s -o build/full.safetensors",),
    )
    parser.add_argument("-o", dest="output", type=Path, default=Path("build/full.safetensors"), metavar="FILE",
                        help="default: build/full.safetensors")  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    check_no_folder(args.output)

    import torch
    from safetensors.torch import save

    from export.model import Architecture, DiffLL
    from runtime.machine.durable import make_folder
    from runtime.machine.files import rewrite_file

    torch.manual_seed(0)
    weights = save(DiffLL(Architecture()).state_dict())
    try:
        make_folder(args.output.parent)
        rewrite_file(args.output, weights)
    except OSError as error:
        raise InputError(f"cannot write {args.output}: {error.strerror}; choose another -o") from error
    print(args.output)
    return 0


if __name__ == "__main__":
    run_command(main)
