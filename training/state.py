"""The weights of a training on their way: raw, averaged (EMA), and the optimizer's; kept in a file to resume from."""

from __future__ import annotations

import copy
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from export.model import DiffLL
from runtime.machine.files import write_file

from .course import ema_decay

_MOST_GRADIENT = 1.0  # norm


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """As torch.save does, whole or not at all. Raises OSError: torch.save itself says RuntimeError of a full disk."""
    whole = io.BytesIO()
    torch.save(content, whole)
    with write_file(path, overwrite=True) as file:
        file.write(whole.getbuffer())


@dataclass
class State:
    """What an iteration changes."""

    model: DiffLL
    ema: DiffLL
    optimizer: torch.optim.Adam
    broken: Tensor
    """() float32: 1 from the first iteration on whose loss or gradient is no number; from then on nothing changes."""
    iteration: int = 0

    @classmethod
    def of(cls, model: DiffLL, device: torch.device) -> State:
        model = model.to(device).train().requires_grad_(True)
        ema = copy.deepcopy(model).eval().requires_grad_(False)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.0, fused=True)
        return cls(model, ema, optimizer, torch.zeros((), device=device))

    def update(self, loss: Tensor, learning_rate: float) -> Tensor:
        """Backward, Adam, EMA, without waiting for the device. Returns the gradient's norm."""
        self.optimizer.zero_grad()
        loss.backward()
        parameters = list(self.model.parameters())
        norm = torch.nn.utils.clip_grad_norm_(parameters, _MOST_GRADIENT)
        self.broken = torch.maximum(self.broken, 1 - (norm + loss.detach()).isfinite().float())
        self.optimizer.found_inf = self.broken  # as torch.amp.GradScaler does: where it is 1, the step is left out
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        with torch.no_grad():
            decay = ema_decay(self.iteration)
            torch._foreach_lerp_(list(self.ema.parameters()), parameters, 1 - decay)
        self.iteration += 1
        return norm

    def save(self, path: Path, more: dict[str, Any]) -> None:
        """Whole, or not at all. Raises OSError."""
        content = more | {
            "iteration": self.iteration,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        write_tensors(path, content)

    def load(self, path: Path) -> dict[str, Any]:
        """What :meth:`save` wrote; returns all of it."""
        content: dict[str, Any] = torch.load(path, map_location=self.broken.device, weights_only=True)
        self.iteration = content["iteration"]
        self.model.load_state_dict(content["model"])
        self.ema.load_state_dict(content["ema"])
        self.optimizer.load_state_dict(content["optimizer"])
        return content
