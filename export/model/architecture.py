"""The shape of a DiffLL network, read from its weights: nobody has to supply a config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.errors import PackageError

MAX_LEVELS = 3  # the paper tries K = 1, 2 and 3
_MOST_UNET_LEVELS, _MOST_BLOCKS = 5, 16  # with three wavelet levels photos are padded to multiples of 128 then
_INDEX = "([0-9]{1,3})"
_NOT_DIFFLL = "A DiffLL checkpoint has Unet.* and high_enhance0.* weights."


@dataclass(frozen=True)
class Architecture:
    """Widths and counts of one DiffLL; the defaults are the official network's."""

    ch: int = 64
    """Channels of the UNet's first level, a multiple of 32 (GroupNorm has 32 groups)."""
    ch_mult: tuple[int, ...] = (1, 2, 3, 4)
    """Width of each UNet level in units of ``ch``."""
    num_res_blocks: int = 2
    """Residual blocks a level on the way down; one more on the way up."""
    attention_levels: tuple[int, ...] = (2,)
    """UNet levels with self-attention (the middle always has it)."""
    hfrm_channels: int = 64
    """Width of the HFRMs, a multiple of 8."""
    levels: int = 2
    """K, wavelet levels and HFRMs, 1 to 3."""

    @property
    def unet_multiple(self) -> int:
        """Height and width of the UNet's input are multiples of this."""
        return 1 << (len(self.ch_mult) - 1)

    @property
    def pad_multiple(self) -> int:
        """Photos are padded to multiples of this (32 for the official network)."""
        return self.unet_multiple << self.levels

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
        """Read the architecture from ``name -> shape`` of the weights.

        Raises PackageError when the names or shapes are not those of a DiffLL. That every remaining weight is
        there and fits is left to ``load_state_dict(strict=True)``.
        """

        def shape(name: str, rank: int) -> tuple[int, ...]:
            found = shapes.get(name)
            if found is None or len(found) != rank:
                sample = ", ".join(repr(other[:60]) for other in sorted(shapes)[:3]) or "nothing"
                raise PackageError(
                    f"not a DiffLL checkpoint: the weight {name} is {'missing' if found is None else found}; "
                    f"found {len(shapes)} weights, such as {sample}. {_NOT_DIFFLL}"
                )
            return found

        def indices(pattern: str) -> list[int]:
            found = {int(m[1]) for name in shapes if (m := re.fullmatch(pattern.replace(".", r"\."), name))}
            if found != set(range(len(found))):
                raise PackageError(
                    f"not a DiffLL checkpoint: the numbers of its {pattern.replace(_INDEX, '*')} weights have gaps "
                    f"({sorted(found)}). {_NOT_DIFFLL}"
                )
            return sorted(found)

        ch = shape("Unet.conv_in.weight", 4)[0]
        shape("Unet.conv_out.weight", 4)
        shape("Unet.down.0.block.0.conv1.weight", 4)
        hfrm = shape("high_enhance0.conv_head.point_conv.weight", 4)[0]
        unet_levels = indices(f"Unet.down.{_INDEX}.block.0.conv1.weight")
        widths = [shape(f"Unet.down.{level}.block.0.conv1.weight", 4)[0] for level in unet_levels]
        levels = len(indices(f"high_enhance{_INDEX}.conv_head.point_conv.weight"))
        blocks = len(indices(f"Unet.down.0.block.{_INDEX}.conv1.weight"))
        if not 0 < len(widths) <= _MOST_UNET_LEVELS or not 0 < blocks <= _MOST_BLOCKS:
            raise PackageError(
                f"not a DiffLL that this toolkit knows: {len(widths)} UNet levels (1 to {_MOST_UNET_LEVELS}) of "
                f"{blocks} residual blocks (1 to {_MOST_BLOCKS})."
            )
        known = all(size > 0 for size in (ch, hfrm, *widths)) and not (ch % 32 or hfrm % 8)
        if not known or any(width % ch for width in widths) or not 1 <= levels <= MAX_LEVELS:
            raise PackageError(
                f"not a DiffLL that this toolkit knows: UNet widths {ch}, {widths} (multiples of 32 wanted), "
                f"HFRM width {hfrm} (a multiple of 8), {levels} HFRMs (1 to {MAX_LEVELS})."
            )
        return cls(
            ch=ch,
            ch_mult=tuple(width // ch for width in widths),
            num_res_blocks=blocks,
            attention_levels=tuple(lv for lv in unet_levels if f"Unet.down.{lv}.attn.0.q.weight" in shapes),
            hfrm_channels=hfrm,
            levels=levels,
        )
