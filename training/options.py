"""What a training is asked for. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from runtime.names import FAST
from runtime.package.sampling import Sampling

Goal = Literal["references", "darkened", "teacher"]
"""How the photos should come out: as their references; as they are, after they were darkened; or as the network
that the training starts from makes them in its published loop."""


@dataclass(frozen=True)
class Weights:
    """Of the four losses; the defaults train the bundled network."""

    diffusion: float = 1.0
    low_frequency: float = 0.5
    detail_preserving: float = 1.0
    content: float = 1.0


@dataclass(frozen=True)
class Options:
    """One training. The same options and the same photos give the same numbers on the same machine."""

    photos: Path
    output: Path
    goal: Goal = "darkened"
    references: Path | None = None
    """A folder with the bright photo of each dark one, by the same name."""
    evaluate: Path | None = None
    """A folder with low/ and high/, same names."""
    init: Path | None = None
    """The checkpoint to start from; None: a new network."""
    width: int = 32
    """Channels of a new network's first level, and of its HFRMs."""
    samplings: tuple[tuple[int, ...], ...] = ()
    """Timesteps of few calls from zero that are trained end to end; the first is the one that matters most."""
    iterations: int | None = None
    minutes: float | None = None
    """Wall-clock limit, with the start and the last evaluation; one of the two limits is given."""
    batch: int = 4
    """Patches an iteration; three times as many while patches are half as wide."""
    patch: int = 128
    """Pixels a side; the first part of a training has patches half as wide."""
    small_share: float = 0.5
    """Of a training, with the smaller patches."""
    learning_rate: float = 2e-4
    device: str = "cpu"
    precision: str = "fp32"
    """Or bf16: of the autocast; weights stay in float32."""
    workers: int = 1
    """Processes that make the batches."""
    seed: int = 0
    weights: Weights = field(default_factory=Weights)
    sample_every: float = 20.0
    """Minutes between two evaluations."""
    keep_every: float = 1.0
    """Minutes between two states that a killed training resumes from."""

    @property
    def trained(self) -> tuple[Sampling, ...]:
        """The samplings as a package will have them."""
        names = [FAST, *(f"{FAST}-{len(steps)}" for steps in self.samplings[1:])]
        return tuple(
            Sampling(name, steps, "zero", None, {"trained": True})
            for name, steps in zip(names, self.samplings, strict=False)
        )
