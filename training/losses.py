"""The four losses of the paper (section 3.4), each under its name there. Means over all values, so that a photo's size
does not matter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_TOTAL_VARIATION, _BANDS = 0.01, 0.1  # the paper's lambda_1 and lambda_2
_WINDOW, _SIGMA = 11, 1.5


def diffusion(eps_hat: Tensor, eps: Tensor) -> Tensor:
    """The noise that was predicted against the one that was added, (B, 3, h, w): mean squared error (equation 8)."""
    return functional.mse_loss(eps_hat, eps)


def low_frequency(ll_hat: Tensor, ll: Tensor) -> Tensor:
    """The sampled average band against the reference's, (B, 3, h, w). The paper squares the difference (its consistency
    term); here it counts as it is: a cast over a whole photo is a small difference everywhere."""
    return functional.l1_loss(ll_hat, ll)


def detail_preserving(bands_hat: Sequence[Tensor], bands: Sequence[Tensor]) -> Tensor:
    """The restored high bands of each level, (B, 9, h, w), against the reference's: mean squared error, and total
    variation against noise."""
    errors = [functional.mse_loss(one, other) for one, other in zip(bands_hat, bands, strict=True)]
    return _BANDS * torch.stack(errors).sum() + _TOTAL_VARIATION * torch.stack([*map(_variation, bands_hat)]).sum()


def content(picture_hat: Tensor, picture: Tensor) -> Tensor:
    """The whole picture against the reference, (B, 3, H, W) in [0, 1]: L1 + (1 - SSIM). What lies beyond [0, 1] counts
    in L1 alone: a clamp there would leave it without a gradient."""
    return functional.l1_loss(picture_hat, picture) + 1 - ssim(picture_hat.clamp(0, 1), picture)


def ssim(one: Tensor, other: Tensor) -> Tensor:
    """Mean structural similarity of two batches (B, 3, H, W) in [0, 1], H and W at least 11, to be differentiated: what
    ``runtime.image.ssim`` computes in numpy."""
    offsets = torch.arange(_WINDOW, dtype=torch.float32, device=one.device) - _WINDOW // 2
    kernel = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    kernel = (kernel / kernel.sum()).expand(15, 1, 1, _WINDOW)
    maps = torch.cat((one, other, one * one, other * other, one * other), dim=1)
    maps = functional.conv2d(functional.conv2d(maps, kernel, groups=15), kernel.transpose(2, 3), groups=15)
    x, y, xx, yy, xy = maps.chunk(5, dim=1)
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * x * y + c1) * (2 * (xy - x * y) + c2)
    return (likeness / ((x * x + y * y + c1) * (xx - x * x + yy - y * y + c2))).mean()


def _variation(bands: Tensor) -> Tensor:
    down, right = bands[:, :, 1:] - bands[:, :, :-1], bands[..., 1:] - bands[..., :-1]
    return down.square().mean() + right.square().mean()
