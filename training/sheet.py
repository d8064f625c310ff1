"""``python -m training.sheet``: what the training will see, as a picture to look at."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from runtime.cli.command import Parser, run_command
from runtime.cli.streams import tell


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m training.sheet",
        description="A sheet of bright photos as `python -m training --darken` darkens them, each beside its goal.",
        examples=("%(prog)s photos -o sheet.jpg",),
    )
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="a folder of bright photos")
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="FILE", help="such as sheet.jpg")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--overwrite", action="store_true")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)

    import numpy as np

    from runtime.photo import Photo, write_photo

    from .photos import Batch, Patches, read_photos

    rows, pairs, side = 6, 4, 160
    photos = read_photos(args.photos, "darkened", None, side)
    dark, bright = Patches(photos, args.seed)[Batch(0, side, rows * pairs)]
    tiles = np.concatenate((dark, bright), axis=2).reshape(rows, pairs, side, 2 * side, 3)
    sheet = tiles.transpose(0, 2, 1, 3, 4).reshape(rows * side, pairs * 2 * side, 3)
    photo = Photo(sheet, alpha=None, grey=False, icc_profile=None, exif=None, format="PNG")
    write_photo(args.output, photo, overwrite=args.overwrite)
    tell(args.output)
    return 0


if __name__ == "__main__":
    run_command(main)
