"""The modules that are traced, one a stage: named inputs and outputs, every size dynamic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from runtime.package import DType, TensorSpec

from .model import Architecture, DiffLL
from .model.diffll import NUM_TRAIN_TIMESTEPS
from .model.hfrm import HFRM
from .model.unet import UNet


class DwtGraph(nn.Module):
    """image (B, 3, H, W) in [0, 1] -> x_cond (B, 3, H/2^K, W/2^K), details0 (B, 9, H/2, W/2), details1 (H/4), ..."""

    def __init__(self, model: DiffLL) -> None:
        super().__init__()
        self.split = model.split

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x_cond, details = self.split(image)
        return (x_cond, *details)


class IdwtGraph(nn.Module):
    """x_0 and the restored details of level 0 to K-1 -> image, clamped to [0, 1]."""

    def __init__(self, model: DiffLL) -> None:
        super().__init__()
        self.merge = model.merge

    def forward(self, x_0: Tensor, *restored: Tensor) -> Tensor:
        return self.merge(x_0, list(restored))


class DenoiserGraph(nn.Module):
    """One step of the loop, the sampler's update included (``runtime.sampler`` makes the coefficients).

    x_t, x_cond, history: (B, 3, h, w); timestep: (1,) int32, 0 to 199; coefficients: (5,) float32.
    The time embedding and each block's projection of it depend on the timestep alone: they are a table here.
    """

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.unet = unet
        with torch.no_grad():
            shifts = unet.shifts(torch.arange(NUM_TRAIN_TIMESTEPS))
        self.widths = [shift.shape[1] for shift in shifts]
        self.register_buffer("shift_table", torch.cat(shifts, dim=1))

    def forward(
        self, x_t: Tensor, x_cond: Tensor, history: Tensor, timestep: Tensor, coefficients: Tensor
    ) -> tuple[Tensor, Tensor]:
        shifts = self.shift_table.index_select(0, timestep).split(self.widths, dim=1)
        eps = self.unet.denoise(torch.cat((x_cond, x_t), dim=1), list(shifts))
        c0, c1, c2, c3, c4 = coefficients.unbind()
        return c0 * x_t + c1 * eps + c2 * history, c3 * x_t + c4 * eps


@dataclass(frozen=True)
class StageGraph:
    """A stage to trace. multiple: its sample sizes are this many times a free number (as its own arithmetic asks)."""

    name: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def _image(name: str, channels: int, divisor: int, dtype: DType = "float32") -> TensorSpec:
    suffix = f"/{divisor}" if divisor > 1 else ""
    return TensorSpec(name, dtype, ("batch", channels, f"height{suffix}", f"width{suffix}"))


def stage_graphs(model: DiffLL) -> Iterator[StageGraph]:
    """The stages in running order: dwt, hfrm0 to hfrm(K-1), denoiser, idwt."""
    arch: Architecture = model.arch
    levels = range(arch.levels)
    band = 2**arch.levels
    image = _image("image", 3, 1)
    details = tuple(_image(f"details{k}", 9, 2 ** (k + 1)) for k in levels)
    restored = tuple(_image(f"restored{k}", 9, 2 ** (k + 1)) for k in levels)
    yield StageGraph("dwt", DwtGraph(model), (image,), (_image("x_cond", 3, band), *details))
    for k, hfrm in enumerate(model.hfrms):
        assert isinstance(hfrm, HFRM)
        yield StageGraph(f"hfrm{k}", hfrm, (details[k],), (restored[k],))
    yield StageGraph(
        "denoiser",
        DenoiserGraph(model.Unet),
        (
            _image("x_t", 3, band),
            _image("x_cond", 3, band),
            _image("history", 3, band),
            TensorSpec("timestep", "int32", (1,)),
            TensorSpec("coefficients", "float32", (5,)),
        ),
        (_image("x_next", 3, band), _image("history_next", 3, band)),
    )
    yield StageGraph("idwt", IdwtGraph(model), (_image("x_0", 3, band), *restored), (image,))
