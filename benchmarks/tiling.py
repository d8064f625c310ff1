"""``python -m benchmarks.tiling``: how far the loop on windows is from the loop on the whole photo, in PyTorch.

For every window and overlap: PSNR of the picture against whole-photo inference with the same noise, and how much
steeper the picture is across the windows' borders than elsewhere, each with group norms that see their window alone
and with norms that share their statistics over all windows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.cli.command import Parser, photo_size, run_command
from runtime.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from runtime.planning.windows import Axis


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.tiling",
        description="Measure what windows in the sampling loop cost in fidelity, as a Markdown table.",
        examples=("%(prog)s photo.jpg --window 512x512 --overlap 64 128",),
    )
    parser.add_argument("photo", type=Path, metavar="PHOTO")
    parser.add_argument("--checkpoint", type=Path, metavar="CHECKPOINT", help="default: the bundled one")
    parser.add_argument("--window", nargs="+", required=True, metavar="WxH", help="of the photo, in pixels")
    parser.add_argument("--overlap", nargs="+", type=int, required=True, metavar="N", help="of the photo, in pixels")
    parser.add_argument("--norms", nargs="+", default=["window", "shared"], choices=["window", "shared"])
    parser.add_argument("--steps", type=int, default=10, metavar="N")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    windows = [photo_size(text) for text in args.window]
    if not 0 <= min(args.overlap) <= max(args.overlap) <= min(min(window) for window in windows) // 2:
        raise InputError(f"--overlap {' '.join(map(str, args.overlap))}: pixels up to half a window's side wanted.")

    from export.files import bundled_checkpoint, check_checkpoint
    from runtime.photo import read_photo

    checkpoint = args.checkpoint or bundled_checkpoint()
    check_checkpoint(checkpoint)  # a mistake is told before PyTorch is loaded
    pixels = read_photo(args.photo).pixels

    import numpy as np
    import torch

    from export.checkpoint import load_checkpoint
    from runtime.image import padded_size, psnr, to_pixels, to_tensor
    from runtime.planning.windows import axis

    model = load_checkpoint(checkpoint).model()
    height, width = pixels.shape[:2]
    scale, multiple = 2**model.arch.levels, model.arch.pad_multiple
    unit = multiple // scale
    with torch.inference_mode():
        x_cond, details = model.split(torch.from_numpy(to_tensor(pixels[None], multiple)))
        restored = [hfrm(bands) for hfrm, bands in zip(model.hfrms, details, strict=True)]
        noise = torch.from_numpy(np.random.default_rng(0).standard_normal(x_cond.shape, np.float32))

        def picture(rows: Axis, columns: Axis, *, shared: bool) -> Any:
            x_0 = sample(model, x_cond, noise, args.steps, rows, columns, shared=shared)
            return to_pixels(model.merge(x_0, restored).numpy(), height, width, pixels.dtype)[0]

        every_row, every_column = (axis(size, size, 0, unit) for size in x_cond.shape[2:])
        whole = picture(every_row, every_column, shared=False)
        peak = np.iinfo(whole.dtype).max
        print("| window | overlap | windows | norms | PSNR (dB) | largest difference | seam | seam of the whole |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for window in windows:
            for overlap in args.overlap:
                rows, columns = (
                    axis(size, min(size, padded_size(side, multiple) // scale), overlap // scale, unit)
                    for size, side in zip(x_cond.shape[2:], reversed(window), strict=True)
                )
                for norms in args.norms:
                    tiled = picture(rows, columns, shared=norms == "shared")
                    print(
                        f"| {window[0]}x{window[1]} | {overlap} | {len(columns.starts)}x{len(rows.starts)} | {norms} | "
                        f"{psnr(whole, tiled, peak):.2f} | {np.abs(whole.astype(int) - tiled).max()} | "
                        f"{seam(tiled, rows, columns, scale):.3f} | {seam(whole, rows, columns, scale):.3f} |",
                        flush=True,
                    )
    return 0


def sample(
    model: Any,
    x_cond: torch.Tensor,
    noise: torch.Tensor,
    steps: int,
    rows: Axis,
    columns: Axis,
    *,
    shared: bool,
) -> torch.Tensor:
    """x_0 (1, 3, h, w) by DDIM on the windows of the two axes, eps blended at every step."""
    import torch

    from export.model.diffll import schedule
    from runtime.planning.windows import grid
    from runtime.sampler import evenly_spaced, make_table

    table = make_table(schedule()[1].numpy(), evenly_spaced(schedule()[1].numpy(), steps))
    windows = list(grid(rows, columns))
    x = noise
    for timestep, (c0, c1, *_) in zip(table.timesteps, table.coefficients, strict=True):
        both = torch.cat((x_cond, x), dim=1)
        cuts = [both[:, :, one.top : one.top + rows.length, one.left : one.left + columns.length] for one in windows]
        at = torch.tensor([int(timestep)])
        if shared:
            with shared_statistics():
                found = model.Unet(torch.cat(cuts), at).split(1)
        else:
            found = [model.Unet(cut, at) for cut in cuts]
        eps = torch.zeros_like(x)
        for one, part in zip(windows, found, strict=True):
            inside = eps[:, :, one.top : one.top + rows.length, one.left : one.left + columns.length]
            inside += torch.from_numpy(one.weight) * part
        x = float(c0) * x + float(c1) * eps
    return x


@contextmanager
def shared_statistics() -> Iterator[None]:
    """Group norms take mean and variance over the whole batch, whose items are the windows of one photo."""
    import torch

    from export.model.unet import GroupNorm

    alone = GroupNorm.forward

    def forward(self: GroupNorm, x: torch.Tensor) -> torch.Tensor:
        batch, channels, *size = x.shape
        groups = x.reshape(batch, self.num_groups, -1)
        variance, mean = torch.var_mean(groups, dim=(0, 2), keepdim=True, correction=0)
        normal = ((groups - mean) * torch.rsqrt(variance + self.eps)).reshape(batch, channels, *size)
        return normal * self.weight[:, None, None] + self.bias[:, None, None]

    GroupNorm.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        GroupNorm.forward = alone  # type: ignore[method-assign]


def seam(picture: NDArray[np.uint8], rows: Axis, columns: Axis, scale: int) -> float:
    """Mean absolute difference of neighbours across the windows' borders over that everywhere else; 1: no seam."""
    import numpy as np

    across: list[Any] = []
    elsewhere: list[Any] = []
    for lines, where in ((0, rows), (1, columns)):
        steps = np.abs(np.diff(picture.astype(np.float32), axis=lines))
        ends = {start for start in where.starts if start} | {start + where.length for start in where.starts[:-1]}
        at = np.zeros(steps.shape[lines], bool)
        at[[scale * end - 1 for end in ends]] = True
        across.append(np.compress(at, steps, lines).ravel())
        elsewhere.append(np.compress(~at, steps, lines).ravel())
    borders = np.concatenate(across)
    return float(borders.mean() / np.concatenate(elsewhere).mean()) if borders.size else 1.0


if __name__ == "__main__":
    run_command(main)
