"""What a calibration found: everything that the files of the package say beside the graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .layers import Layer
from .observe import Observed
from .photos import Source
from .search import Key
from .sensitivity import Sensitivity


@dataclass(frozen=True)
class Result:
    """All that was found, stage by stage where a mapping says so."""

    method: str
    budget_db: float
    calibrated: list[Source]
    unseen: list[Source]
    sizes: list[tuple[int, int]]
    """(width, height) of each unseen photo as it was compared."""
    layers: Mapping[str, Sequence[Layer]]
    observed: Mapping[str, Observed]
    limits: Mapping[str, Mapping[str, float]]
    sensitivity: Sensitivity
    float_layers: list[Key]
    """Worst first."""
    errors: Mapping[str, Sequence[float]]
    """Sampling -> mean squared error of each unseen photo, range [0, 1]."""
