"""The modules that are traced, one a stage: named inputs and outputs, every size dynamic."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from runtime.names import LOOP, Precision
from runtime.package.manifest import TensorSpec

from ..model import DiffLL
from ..model.diffll import NUM_TRAIN_TIMESTEPS
from ..model.unet import UNet
from .precision import ISLANDS, convert, io_dtype


class DwtGraph(nn.Module):
    """Computes in float32, returns ``dtype``.

    image (B, 3, H, W) in [0, 1] -> x_cond (B, 3, H/2^K, W/2^K), details0 (B, 9, H/2, W/2), details1 (H/4), ..."""

    def __init__(self, model: DiffLL, dtype: torch.dtype) -> None:
        super().__init__()
        self.split, self.dtype = model.split, dtype

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x_cond, details = self.split(image)
        return tuple(band.to(self.dtype) for band in (x_cond, *details))


class IdwtGraph(nn.Module):
    """x_0 and the restored details of level 0 to K-1 -> image, clamped to [0, 1]; computes in float32."""

    def __init__(self, model: DiffLL) -> None:
        super().__init__()
        self.merge = model.merge

    def forward(self, x_0: Tensor, *restored: Tensor) -> Tensor:
        return self.merge(x_0, [bands.float() for bands in restored])


class DenoiserGraph(nn.Module):
    """One step of the loop, the sampler's update included (``runtime.sampler`` makes the coefficients).

    x_t, history: (B, 3, h, w) float32; x_cond: the same in the UNet's dtype; timestep: (1,) int32, 0 to 199;
    coefficients: (5,) float32. The UNet runs in its own dtype, the update in ``update``.
    The time embedding and each block's projection of it depend on the timestep alone: they are a table here, made
    by ``shifts``, the UNet whose time embedding is taken.
    """

    def __init__(self, unet: UNet, shifts: UNet, update: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.unet, self.update = unet, update
        with torch.no_grad():
            rows = shifts.shifts(torch.arange(NUM_TRAIN_TIMESTEPS))
        self.widths = [row.shape[1] for row in rows]
        self.register_buffer("shift_table", torch.cat(rows, dim=1).to(unet.conv_in.weight.dtype))

    def forward(
        self, x_t: Tensor, x_cond: Tensor, history: Tensor, timestep: Tensor, coefficients: Tensor
    ) -> tuple[Tensor, Tensor]:
        shifts = self.shift_table.index_select(0, timestep).split(self.widths, dim=1)
        eps = self.unet.denoise(torch.cat((x_cond, x_t.to(x_cond.dtype)), dim=1), list(shifts))
        x_t, eps, history, factors = (value.to(self.update) for value in (x_t, eps, history, coefficients))
        c0, c1, c2, c3, c4 = factors.unbind()
        return c0 * x_t + c1 * eps + c2 * history, c3 * x_t + c4 * eps


@dataclass(frozen=True)
class StageGraph:
    """A stage to trace."""

    name: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def stage_graphs(
    model: DiffLL, precision: Precision = "fp32", islands: Collection[str] = ISLANDS
) -> Iterator[StageGraph]:
    """The stages in running order: dwt, hfrm0 to hfrm(K-1), denoiser, idwt. ``model`` is the float32 network.

    islands: what stays in float32; fewer than all of them only to measure what each is for.
    """
    converted = convert(model, precision, islands)

    def tensor(name: str, channels: int, level: int) -> TensorSpec:
        suffix = f"/{2**level}" if level else ""
        return TensorSpec(name, io_dtype(name, precision), ("batch", channels, f"height{suffix}", f"width{suffix}"))

    unet, levels = converted.Unet, model.arch.levels
    half = unet.conv_in.weight.dtype
    image = tensor("image", 3, 0)
    details = tuple(tensor(f"details{k}", 9, k + 1) for k in range(levels))
    restored = tuple(tensor(f"restored{k}", 9, k + 1) for k in range(levels))
    yield StageGraph("dwt", DwtGraph(model, half), (image,), (tensor("x_cond", 3, levels), *details))
    for k, hfrm in enumerate(converted.hfrms):
        yield StageGraph(f"hfrm{k}", hfrm, (details[k],), (restored[k],))
    shifts = model.Unet if "time_embedding" in islands else unet
    denoiser = DenoiserGraph(unet, shifts, update=torch.float32 if "update" in islands else half)
    sampler = TensorSpec("timestep", "int32", (1,)), TensorSpec("coefficients", "float32", (5,))
    inputs = (*(tensor(name, 3, levels) for name in ("x_t", "x_cond", "history")), *sampler)
    outputs = tensor("x_next", 3, levels), tensor("history_next", 3, levels)
    yield StageGraph(LOOP, denoiser, inputs, outputs)
    yield StageGraph("idwt", IdwtGraph(model), (tensor("x_0", 3, levels), *restored), (image,))
