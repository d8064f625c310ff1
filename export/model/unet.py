"""Conditional noise-prediction UNet (DiffLL paper, section 3.2; official ``models/unet.py``, after DDIM's)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .architecture import Architecture


def timestep_embedding(timestep: Tensor, channels: int) -> Tensor:
    """Sinusoidal embedding, (N,) -> (N, channels) float32: sines of falling frequency, then their cosines."""
    half = channels // 2
    frequencies = torch.exp(
        torch.arange(half, dtype=torch.float32, device=timestep.device) * (-math.log(10000) / (half - 1))
    )
    angles = timestep.float()[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), dim=1)


class GroupNorm(nn.GroupNorm):
    """32 groups, eps 1e-6, computed in the dtype of its weights: left in float32 in a half-precision network, it
    keeps its statistics in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__(32, channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        # not super's, which refuses a photo so small that a group is one number
        values = x.to(self.weight.dtype)
        return torch.group_norm(values, self.num_groups, self.weight, self.bias, self.eps).to(x.dtype)


class ResnetBlock(nn.Module):
    """x: (B, in, H, W), shift: (1 or B, out), this block's projection of the time embedding -> (B, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, temb_channels: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.temb_proj = nn.Linear(temb_channels, out_channels)
        self.norm2 = GroupNorm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        h = self.conv1(functional.silu(self.norm1(x))) + shift[:, :, None, None].to(x.dtype)
        h = self.conv2(functional.silu(self.norm2(h)))
        return (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + h


class AttentionBlock(nn.Module):
    """One-head self-attention over all H*W positions: (B, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = GroupNorm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)
        self.scale = channels**-0.5

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        # One reshape and one transpose from the convolution to 4-D: the form that TensorRT-RTX fuses. With flatten
        # and unsqueeze in its place the score matrix is kept in memory (4.3 GB for a 3840x2160 photo).
        batch, channels = x.shape[:2]
        q, k, v = (project(h).reshape(batch, 1, channels, -1).transpose(2, 3) for project in (self.q, self.k, self.v))
        scores = torch.matmul(q * self.scale, k.transpose(2, 3))  # (B, 1, HW, HW)
        h = torch.matmul(scores.softmax(dim=-1), v)
        return x + self.proj_out(h.transpose(2, 3).reshape_as(x))


class Downsample(nn.Module):
    """3x3 convolution with stride 2, padded by a zero row and column at the bottom and right only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Nearest-neighbour doubling, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Residual blocks of the given (in, out) channels, with attention behind each of them or none."""

    def __init__(self, widths: Sequence[tuple[int, int]], temb_channels: int, attention: bool) -> None:
        super().__init__()
        self.block, self.attn = nn.ModuleList(), nn.ModuleList()
        for in_channels, out_channels in widths:
            self.block.append(ResnetBlock(in_channels, out_channels, temb_channels))
            if attention:
                self.attn.append(AttentionBlock(out_channels))


class UNet(nn.Module):
    """eps(x_t, x_cond, t): 2 x 3 channels in, 3 out, at the size of the smallest average band.

    x: (B, 6, h, w) float, ``x_cond`` then ``x_t`` on the channel axis, h and w multiples of
    2^(levels of the UNet - 1); t: (B,) or (1,). Returns eps, (B, 3, h, w).
    """

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        widths = [arch.ch * mult for mult in arch.ch_mult]
        temb_channels = 4 * arch.ch
        self.ch = arch.ch
        self.temb = nn.Module()
        self.temb.dense = nn.ModuleList([nn.Linear(arch.ch, temb_channels), nn.Linear(temb_channels, temb_channels)])
        self.conv_in = nn.Conv2d(6, arch.ch, 3, padding=1)
        width, skips, blocks = arch.ch, [arch.ch], arch.num_res_blocks
        self.down = nn.ModuleList()
        for level, out in enumerate(widths):
            down = Level([(width, out), *[(out, out)] * (blocks - 1)], temb_channels, level in arch.attention_levels)
            width, skips = out, [*skips, *[out] * blocks]
            if level < len(widths) - 1:
                down.downsample = Downsample(width)
                skips.append(width)
            self.down.append(down)

        self.mid = nn.Module()
        self.mid.block_1 = ResnetBlock(width, width, temb_channels)
        self.mid.attn_1 = AttentionBlock(width)
        self.mid.block_2 = ResnetBlock(width, width, temb_channels)

        self.up = nn.ModuleList()
        for level, out in reversed(list(enumerate(widths))):
            ins = [before + skips.pop() for before in (width, *[out] * blocks)]
            up = Level([(channels, out) for channels in ins], temb_channels, level in arch.attention_levels)
            width = out
            if level:
                up.upsample = Upsample(width)
            self.up.insert(0, up)
        self.norm_out = GroupNorm(width)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)

    def blocks(self) -> list[ResnetBlock]:
        """The residual blocks in the order in which :meth:`denoise` uses them."""
        down = [block for stage in self.down for block in stage.block]
        up = [block for stage in reversed(self.up) for block in stage.block]
        return [*down, self.mid.block_1, self.mid.block_2, *up]

    def shifts(self, timestep: Tensor) -> list[Tensor]:
        """What the timestep adds in each block of :meth:`blocks`: (N,) -> [(N, out_channels)], float32.

        It depends on the timestep alone, so an export can replace it by a table of all timesteps.
        """
        embedding = timestep_embedding(timestep, self.ch).to(self.temb.dense[0].weight.dtype)
        temb = self.temb.dense[0](embedding)
        temb = functional.silu(self.temb.dense[1](functional.silu(temb)))
        return [block.temb_proj(temb) for block in self.blocks()]

    def denoise(self, x: Tensor, shifts: list[Tensor]) -> Tensor:
        """eps, given the timestep's shifts (see :meth:`shifts`)."""
        shift = iter(shifts)
        h = self.conv_in(x)
        skips = [h]
        for stage in self.down:
            h = self._run(stage, h, shift, skips, push=True)
            if hasattr(stage, "downsample"):
                h = stage.downsample(h)
                skips.append(h)
        h = self.mid.block_1(h, next(shift))
        h = self.mid.block_2(self.mid.attn_1(h), next(shift))
        for stage in reversed(self.up):
            h = self._run(stage, h, shift, skips, push=False)
            if hasattr(stage, "upsample"):
                h = stage.upsample(h)
        return self.conv_out(functional.silu(self.norm_out(h)))

    @staticmethod
    def _run(stage: nn.Module, h: Tensor, shift: Iterator[Tensor], skips: list[Tensor], *, push: bool) -> Tensor:
        for index, block in enumerate(stage.block):
            h = block(h if push else torch.cat((h, skips.pop()), dim=1), next(shift))
            if len(stage.attn):
                h = stage.attn[index](h)
            if push:
                skips.append(h)
        return h

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.denoise(x, self.shifts(t))
