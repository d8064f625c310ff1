"""High-frequency restoration module (DiffLL paper, section 3.3; official ``models/mods.py``)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_HEADS = 8  # only the scale of the scores knows about heads: the official code never splits the channels
_DILATIONS = (1, 2, 3, 2, 1)


class DepthConv(nn.Module):
    """3x3 depth-wise convolution, then 1x1: (B, in, H, W) -> (B, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.depth_conv = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels)
        self.point_conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.point_conv(self.depth_conv(x))


class DilatedResblock(nn.Module):
    """Five 3x3 convolutions with dilations 1-2-3-2-1 (9 rows of reach) and a skip: (B, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for dilation in _DILATIONS:
            layers += [nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation), nn.LeakyReLU(0.01)]
        self.model = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) + x


class CrossAttention(nn.Module):
    """Attention between the channels of each image row.

    query_band, context_band: (B, C, H, W) -> (B, C, H, W). Per row the score matrix is C x C, a sum over the
    image width: its logits grow with the width, so half precision keeps these matmuls and the softmax in float32
    (``score_dtype``; None: as the input).
    """

    score_dtype: torch.dtype | None = None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = DepthConv(channels, channels)
        self.key = DepthConv(channels, channels)
        self.value = DepthConv(channels, channels)
        self.scale = (channels // _HEADS) ** -0.5

    def forward(self, query_band: Tensor, context_band: Tensor) -> Tensor:
        dtype = self.score_dtype or query_band.dtype
        query = self.query(query_band).to(dtype).permute(0, 2, 1, 3)  # (B, H, C, W)
        key = self.key(context_band).to(dtype).permute(0, 2, 3, 1)  # (B, H, W, C)
        value = self.value(context_band).to(dtype).permute(0, 2, 1, 3)
        scores = torch.matmul(query, key) * self.scale
        mixed = torch.matmul(scores.softmax(dim=-1), value)
        return mixed.permute(0, 2, 1, 3).to(query_band.dtype)


class HFRM(nn.Module):
    """Restores the three detail bands of one wavelet level.

    details: (B, 9, H, W), bands HL, LH, HH of three colours each, about [-2, 2] -> the same shape.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_head = DepthConv(3, channels)
        self.dilated_block_LH = DilatedResblock(channels)
        self.dilated_block_HL = DilatedResblock(channels)
        self.cross_attention0 = CrossAttention(channels)
        self.dilated_block_HH = DilatedResblock(channels)
        self.conv_HH = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.cross_attention1 = CrossAttention(channels)
        self.conv_tail = DepthConv(channels, 3)

    def forward(self, details: Tensor) -> Tensor:
        hl, lh, hh = (self.conv_head(band) for band in details.chunk(3, dim=1))
        mixed = torch.cat((self.cross_attention0(lh, hh), self.cross_attention1(hl, hh)), dim=1)
        restored = (self.dilated_block_HL(hl), self.dilated_block_LH(lh), self.dilated_block_HH(self.conv_HH(mixed)))
        return torch.cat([self.conv_tail(band) for band in restored], dim=1) + details
