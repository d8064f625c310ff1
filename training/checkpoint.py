"""The result: EMA weights in the authors' layout, or as .safetensors, with the samplings that were trained."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from export.checkpoint import SAMPLINGS
from export.model import Architecture
from runtime.machine.files import write_file
from runtime.package.sampling import Sampling
from runtime.package.samplings import samplings_json

from .state import write_tensors


def write_checkpoint(
    path: Path, arch: Architecture, ema: dict[str, Tensor], samplings: tuple[Sampling, ...], step: int
) -> None:
    """Whole, or not at all. Raises OSError."""
    weights = {name: value.detach().float().cpu().contiguous() for name, value in ema.items()}
    told: dict[str, Any] = {SAMPLINGS: json.dumps(samplings_json(samplings))}
    if path.suffix == ".safetensors":
        from safetensors.torch import save

        content = save(weights, told)
        with write_file(path, overwrite=True) as file:
            file.write(content)
        return
    official = {
        "step": step,
        "epoch": 0,
        "state_dict": {f"module.{name}": value for name, value in weights.items()},
        "ema_helper": weights,
        "params": argparse.Namespace(sampling_timesteps=10),
        "config": argparse.Namespace(model=argparse.Namespace(ch=arch.ch, ch_mult=list(arch.ch_mult))),
    }
    write_tensors(path, official | told)
