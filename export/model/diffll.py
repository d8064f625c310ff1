"""The whole network and its sampling loop: the reference that every package is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .architecture import Architecture
from .hfrm import HFRM
from .unet import UNet
from .wavelet import dwt, idwt

NUM_TRAIN_TIMESTEPS, NUM_INFERENCE_STEPS = 200, 10
PUBLISHED_TIMESTEPS = tuple(reversed(range(0, NUM_TRAIN_TIMESTEPS, NUM_TRAIN_TIMESTEPS // NUM_INFERENCE_STEPS)))
Rows = Sequence[Sequence[float]]


def schedule() -> tuple[Tensor, Tensor]:
    """``betas`` and ``alphas_cumprod``, (200,) float32 (official ``models/ddm.py``: linear betas)."""
    betas = torch.linspace(1e-4, 0.02, NUM_TRAIN_TIMESTEPS, dtype=torch.float64).float()
    return betas, (1 - betas).cumprod(dim=0)


class DiffLL(nn.Module):
    """Low-light enhancement, image in, image out (official ``models/ddm.py: Net`` in evaluation)."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        for level in range(arch.levels):
            self.add_module(f"high_enhance{level}", HFRM(arch.hfrm_channels))
        self.Unet = UNet(arch)

    @property
    def hfrms(self) -> list[HFRM]:
        return [self.get_submodule(f"high_enhance{level}") for level in range(self.arch.levels)]

    def split(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, H, W) in [0, 1] -> x_cond (B, 3, H/2^K, W/2^K), details of level 0 to K-1."""
        ll, details = 2 * image - 1, []
        for _ in range(self.arch.levels):
            ll, high = dwt(ll)
            details.append(high)
        return ll, details

    def merge(self, ll: Tensor, details: list[Tensor]) -> Tensor:
        """Inverse of :meth:`split`, clamped to [0, 1]."""
        for high in reversed(details):
            ll = idwt(ll, high)
        return ((ll + 1) / 2).clamp(0, 1)

    def sample(self, x_cond: Tensor, x_t: Tensor, timesteps: Sequence[int], rows: Rows | None = None) -> Tensor:
        """The DDIM loop with eta = 0 (official ``sample_training``): x_T and result (B, 3, h, w) float32.

        Step by step as the paper's equation 6 has it, on purpose without the runtime's coefficient table: this is
        what the table is checked against. timesteps: falling; after the last comes x_0. rows: c0, c1 and c2 to c4 of
        each step's update (``runtime/sampler.py``) in place of DDIM's.
        """
        _, alphas_cumprod = schedule()
        x = history = x_t
        for index, t in enumerate(timesteps):
            eps = self.Unet(torch.cat((x_cond, x), dim=1), torch.full((len(x),), t, device=x.device))
            if rows is not None:
                c0, c1, c2, c3, c4 = rows[index]
                x, history = c0 * x + c1 * eps + c2 * history, c3 * x + c4 * eps
                continue
            alpha = alphas_cumprod[t]
            alpha_next = alphas_cumprod[timesteps[index + 1]] if index + 1 < len(timesteps) else torch.ones(())
            x_0 = (x - eps * (1 - alpha).sqrt()) / alpha.sqrt()
            x = alpha_next.sqrt() * x_0 + (1 - alpha_next).sqrt() * eps
        return x

    def forward(
        self, image: Tensor, x_t: Tensor, timesteps: Sequence[int] = PUBLISHED_TIMESTEPS, rows: Rows | None = None
    ) -> Tensor:
        """image: (B, 3, H, W) float32 RGB in [0, 1], H and W multiples of ``arch.pad_multiple``; x_T: (B, 3, H/2^K,
        W/2^K). timesteps, rows: as for :meth:`sample`. Returns the restored image, the same shape, in [0, 1]."""
        x_cond, details = self.split(image)
        restored = [hfrm(high) for hfrm, high in zip(self.hfrms, details, strict=True)]
        return self.merge(self.sample(x_cond, x_t, timesteps, rows), restored)
