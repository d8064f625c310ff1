"""How far a training has come, and what follows from it: the learning rate, the size of patches, the loop of an
iteration."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from export.model.diffll import PUBLISHED_TIMESTEPS

from .options import Options
from .photos import Batch

_WARM_UP = 60  # iterations, but at most a tenth of them
_LEAST = 0.03  # of the learning rate, at the end
_MIDDLE = (150, 100, 50, 0)


class Clock(Protocol):
    """Seconds of the training's own time, those before a kill included."""

    def __call__(self) -> float: ...


@dataclass(frozen=True)
class Loop:
    """Of the denoiser, inside the training."""

    timesteps: tuple[int, ...]
    zero: bool
    """Starts from zero, else from noise."""


@dataclass
class Course:
    """Of one training: by its iterations, or by the clock."""

    options: Options
    clock: Clock
    limit_s: float = math.inf
    """When the iterations have to end, by the clock."""

    def share(self, iteration: int) -> float:
        """0 at the start, 1 at the end."""
        if self.options.iterations is not None:
            return iteration / self.options.iterations
        return min(1.0, self.clock() / self.limit_s)

    def plan(self, iteration: int) -> Iterator[Batch]:
        """The batches from ``iteration`` on. Workers ask some batches ahead."""
        one = self.options
        while (share := self.share(iteration)) < 1:
            small = share < one.small_share
            yield Batch(iteration, one.patch // 2 if small else one.patch, one.batch * (3 if small else 1))
            iteration += 1

    def learning_rate(self, iteration: int) -> float:
        """Up within the first iterations, then down by half a cosine."""
        warm_up = min(_WARM_UP, max(1, (self.options.iterations or 10 * _WARM_UP) // 10))
        falling = (1 - _LEAST) * (1 + math.cos(math.pi * self.share(iteration))) / 2 + _LEAST
        return self.options.learning_rate * min(1.0, (iteration + 1) / warm_up) * falling

    def loop(self, iteration: int) -> Loop:
        """Drawn for each iteration. Few calls from zero are trained most; longer loops from noise stay in, so that
        the published one stays good."""
        loops = [(Loop(PUBLISHED_TIMESTEPS, False), 0.08), (Loop(_MIDDLE, False), 0.2)]
        few = self.options.samplings
        if few:
            loops += [(Loop(one, True), 0.72 / (len(few) + 1) * (2 if one == few[0] else 1)) for one in few]
        else:
            loops += [(Loop((100, 0), False), 0.3)]
        chances = [chance for _, chance in loops]
        return random.Random(f"{self.options.seed} {iteration}").choices(loops, chances)[0][0]


def ema_decay(iteration: int) -> float:
    """Of the weights that are kept: over the last tenth of the iterations so far, over 1000 at most."""
    return min(0.999, 1 - 1 / (iteration / 10 + 1))
