"""Int8 packages tried on the unseen photos, each with other layers left in float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from runtime.cli.progress import Progress
from runtime.image import decibels

from .layers import Layer
from .quantise import quantise
from .search import Key
from .variants import Judge, Pictures


@dataclass(frozen=True)
class Trial:
    """One choice of float layers."""

    graphs: dict[str, bytes]
    """Stage -> graph."""
    pictures: Pictures
    errors: dict[str, list[float]]
    """Sampling -> mean squared error of each photo, range [0, 1]."""

    @property
    def worst_error(self) -> float:
        """Of every photo and sampling: each sampling has to be within the budget."""
        return max(map(max, self.errors.values()))


@dataclass
class Trials:
    """Runs a choice of float layers once and keeps what came of it."""

    judge: Judge
    models: Mapping[str, onnx.ModelProto]
    layers: Mapping[str, Sequence[Layer]]
    limits: Mapping[str, Mapping[str, float]]
    progress: Progress
    _done: dict[frozenset[Key], Trial] = field(default_factory=dict)

    def __call__(self, float_layers: Sequence[Key]) -> Trial:
        choice = frozenset(float_layers)
        if choice not in self._done:
            with self.progress.task(f"unseen photos with {len(choice)} layers in float"):
                graphs = {stage: self._graph(stage, choice) for stage in self.layers}
                pictures = self.judge.pictures(graphs)
            trial = Trial(graphs, pictures, self.judge.errors(pictures))
            for sampling, errors in trial.errors.items():
                reached = ", ".join(f"{decibels(error):.2f}" for error in errors)
                self.progress.note(f"PSNR against fp32, sampling {sampling}: {reached} dB")
            self._done[choice] = trial
        return self._done[choice]

    def worst_error(self, float_layers: Sequence[Key]) -> float:
        return self(float_layers).worst_error

    def _graph(self, stage: str, float_layers: frozenset[Key]) -> bytes:
        chosen = [layer for layer in self.layers[stage] if (stage, layer.name) not in float_layers]
        return quantise(self.models[stage], chosen, self.limits[stage])
