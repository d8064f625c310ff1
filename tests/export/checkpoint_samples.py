"""What the tests of checkpoints share: the smallest network, and a checkpoint file of any content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Weights = dict[str, Tensor]
SMALL = {"ch_mult": (1,), "attention_levels": (), "levels": 1}


def save(path: Path, content: Any, *, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path
