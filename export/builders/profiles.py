"""Photo sizes -> optimization profiles: the smallest, usual and largest shape of every dynamic I/O tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import InputError
from runtime.image import padded_size
from runtime.package.manifest import Stage

Size = tuple[int, int]  # width, height
DEFAULT_SIZE: Size = (600, 400)
DEFAULT_MAX_SIZE: Size = (1920, 1080)


@dataclass(frozen=True)
class SizeRange:
    """The padded photos that an engine takes."""

    smallest: Size
    usual: Size
    """The one to tune for."""
    largest: Size


def size_range(sizes: Sequence[Size], max_size: Size | None, pad_multiple: int) -> SizeRange:
    """What an engine has to take.

    sizes: the sizes asked for, the first is tuned for. One size and no ``max_size``: an engine for that size alone.
    Several: from the smallest to the largest side. With ``max_size``: any photo up to it. Nothing: any photo up to
    1920x1080, tuned for 600x400. Raises InputError for a size beyond ``max_size``.
    """
    if not sizes and max_size is None:
        max_size = DEFAULT_MAX_SIZE
    if max_size is None:
        widths, heights = zip(*sizes, strict=True)
        corners = (min(widths), min(heights)), sizes[0], (max(widths), max(heights))
    else:
        widest, highest = max_size
        for width, height in sizes:
            if width > widest or height > highest:
                cure = f"--max-size {widest}x{highest}; raise --max-size or leave that size out"
                raise InputError(f"size {width}x{height} is larger than {cure}.")
        usual = sizes[0] if sizes else (min(DEFAULT_SIZE[0], widest), min(DEFAULT_SIZE[1], highest))
        corners = (1, 1), usual, max_size
    return SizeRange(*((padded_size(w, pad_multiple), padded_size(h, pad_multiple)) for w, h in corners))


def profile(stage: Stage, sizes: SizeRange, max_batch: int) -> dict[str, list[list[int]]]:
    """I/O tensor -> [min, opt, max] shapes of every input of ``stage`` that has a dynamic one."""
    shapes = {}
    for spec in stage.inputs:
        if any(isinstance(size, str) for size in spec.shape):
            corners = ((1, sizes.smallest), (1, sizes.usual), (max_batch, sizes.largest))
            shapes[spec.name] = [list(spec.resolve(batch, height, width)) for batch, (width, height) in corners]
    return shapes
