"""A checkpoint as small as the network goes, and what is in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_samples import SMALL, Weights


@pytest.fixture(scope="module")
def official(make_checkpoint: Callable[..., Path]) -> Path:
    """A checkpoint of one level, as small as the network goes."""
    return make_checkpoint(5, **SMALL)


@pytest.fixture(scope="module")
def content(official: Path) -> dict[str, Any]:
    """What is in it; ours, so a free unpickle will do. Never change it."""
    return dict(torch.load(official, weights_only=False))


@pytest.fixture(scope="module")
def ema(content: dict[str, Any]) -> Weights:
    return dict(content["ema_helper"])
