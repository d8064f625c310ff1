"""One iteration: the losses of a batch."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from export.model import DiffLL
from export.model.diffll import NUM_TRAIN_TIMESTEPS, schedule
from export.model.wavelet import idwt

from . import losses
from .course import Loop
from .options import Weights

NAMES = ("loss", "diffusion", "low_frequency", "detail_preserving", "content", "gradient_norm")


def batch_losses(
    model: DiffLL, dark: Tensor, bright: Tensor, loop: Loop, random: torch.Generator, weights: Weights
) -> Tensor:
    """dark, bright: (B, 3, H, W) float32 RGB in [0, 1]. Returns (5,): the sum, which has the gradient, then the four
    losses without their weights. Forward diffusion and the sampling loop both run, as in the paper's training."""
    x_cond, details = model.split(dark)
    ll, bands = model.split(bright)
    restored = [hfrm(high).float() for hfrm, high in zip(model.hfrms, details, strict=True)]

    t = torch.randint(0, NUM_TRAIN_TIMESTEPS, (len(dark),), generator=random, device=dark.device)
    eps = torch.randn(ll.shape, generator=random, device=dark.device)
    alpha = _alphas_cumprod(dark.device)[t][:, None, None, None]
    eps_hat = model.Unet(torch.cat((x_cond, ll * alpha.sqrt() + eps * (1 - alpha).sqrt()), dim=1), t).float()

    x_t = torch.randn(ll.shape, generator=random, device=dark.device) if not loop.zero else torch.zeros_like(ll)
    ll_hat = model.sample(x_cond, x_t, loop.timesteps).float()
    with torch.autocast(dark.device.type, enabled=False):  # SSIM is a difference of squares: not in half precision
        picture = ll_hat
        for high in reversed(restored):
            picture = idwt(picture, high)
        parts = torch.stack(
            (
                losses.diffusion(eps_hat, eps),
                losses.low_frequency(ll_hat, ll),
                losses.detail_preserving(restored, bands),
                losses.content((picture + 1) / 2, bright),
            )
        )
    shares = (weights.diffusion, weights.low_frequency, weights.detail_preserving, weights.content)
    total = sum(share * part for share, part in zip(shares, parts, strict=True))
    return torch.cat((total[None], parts.detach()))


def teach(teacher: DiffLL, dark: Tensor, random: torch.Generator) -> Tensor:
    """What ``teacher`` makes of dark photos in its published loop, (B, 3, H, W) float32 in [0, 1]: the goal where there
    is no reference."""
    with torch.no_grad():
        size = [edge >> teacher.arch.levels for edge in dark.shape[2:]]
        x_t = torch.randn((len(dark), 3, *size), generator=random, device=dark.device)
        bright: Tensor = teacher(dark, x_t).float()
        return bright


@cache
def _alphas_cumprod(device: torch.device) -> Tensor:
    return schedule()[1].to(device)
