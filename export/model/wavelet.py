"""2-D Haar wavelet transform of image batches (DiffLL paper, section 3.1; official ``models/wavelet.py``)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def dwt(image: Tensor) -> tuple[Tensor, Tensor]:
    """One level of the Haar transform.

    image: (B, C, H, W) float, H and W even.
    Returns the average band LL, (B, C, H/2, W/2), twice the range of ``image``, and the details
    (B, 3*C, H/2, W/2): the bands HL, LH, HH one after the other on the channel axis. The official code stacks
    them on the batch axis, which freezes the batch at 1 in a trace.
    """
    half = image / 2
    even_even, odd_even = half[:, :, 0::2, 0::2], half[:, :, 1::2, 0::2]
    even_odd, odd_odd = half[:, :, 0::2, 1::2], half[:, :, 1::2, 1::2]
    ll = even_even + odd_even + even_odd + odd_odd
    hl = -even_even - odd_even + even_odd + odd_odd
    lh = -even_even + odd_even - even_odd + odd_odd
    hh = even_even - odd_even - even_odd + odd_odd
    return ll, torch.cat((hl, lh, hh), dim=1)


def idwt(ll: Tensor, details: Tensor) -> Tensor:
    """Inverse of :func:`dwt`: (B, C, H, W) and (B, 3*C, H, W) -> (B, C, 2H, 2W).

    Written as sums and a depth-to-space: the official assignment to strided slices traces to ScatterND.
    """
    ll = ll / 2
    hl, lh, hh = (details / 2).chunk(3, dim=1)
    phases = (ll - hl - lh + hh, ll + hl - lh - hh, ll - hl + lh - hh, ll + hl + lh + hh)
    # pixel_shuffle reads channel c*4 + 2*row + column, so the four phases go behind the channel axis.
    return functional.pixel_shuffle(torch.stack(phases, dim=2).flatten(1, 2), 2)
