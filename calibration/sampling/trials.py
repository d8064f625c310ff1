"""Samplings tried on small copies of the photos to search on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import Backend
from runtime.cli.progress import Progress
from runtime.names import FAST, PUBLISHED
from runtime.package.manifest import Manifest
from runtime.package.sampling import Sampling
from runtime.sampler import make_table

from .photos import Pair, small
from .score import Score, compare, mean_score, same_brightness
from .small import SmallPhoto
from .state import State

PIXELS = 320 * 256  # of a photo to search on, at most: it is made smaller, as a cut one is another photo to the network
MORE_PIXELS = 640 * 640  # of the same photo for the few best: a smaller one hides noise
SEED = 0  # of x_T, on the photos and on the judging photos: the default of a user's call

Array = NDArray[Any]


class Trials:
    """Scores against the reference as it is, or else, at equal mean brightness, against the published picture."""

    def __init__(
        self,
        backend: Backend[Any],
        manifest: Manifest,
        pairs: Sequence[Pair],
        state: State,
        progress: Progress,
        pixels: int,
    ) -> None:
        self._backend, self._manifest, self._pairs = backend, manifest, pairs
        self._state, self._progress, self._pixels = state, progress, pixels
        self._published = manifest.samplings[PUBLISHED]
        self._opened: dict[Pair, tuple[SmallPhoto, Array]] = {}

    @property
    def runs(self) -> int:
        """Of the denoiser, so far."""
        return sum(photo.runs for photo, _ in self._opened.values())

    @cached_property
    def published(self) -> Score:
        return self.scores([self._published])[0]

    def scores(self, samplings: Sequence[Sampling]) -> list[Score]:
        """Of each the mean over the photos."""
        if not samplings:
            return []
        kept = {(pair, one): self._state.get(self._place(pair), one) for pair in self._pairs for one in samplings}
        missing = [place for place, values in kept.items() if values is None]
        if missing:
            with self._progress.task(f"samplings on photos of at most {self._pixels} pixels: {len(missing)} pictures"):
                for pair, one in missing:
                    kept[pair, one] = values = [*astuple(self._score(pair, one))]
                    self._state.put(self._place(pair), one, values)
        return [mean_score([Score(*(kept[pair, one] or ())) for pair in self._pairs]) for one in samplings]

    def fitted(self, sampling: Sampling) -> Sampling:
        """``sampling`` with those c0 and c1 of its last row that bring x_0 nearest to the low bands wanted, by least
        squares over all photos."""
        seen, wanted = [], []
        for pair in self._pairs:
            photo, _ = self._photo(pair)
            seen.append(np.stack([part.ravel() for part in photo.last(sampling)], axis=1))
            wanted.append(photo.band(self._published).ravel())
        system = np.concatenate(seen).astype(np.float64)
        solution = np.linalg.lstsq(system, np.concatenate(wanted).astype(np.float64), rcond=None)[0]
        rows = make_table(np.asarray(self._manifest.alphas_cumprod), sampling).coefficients.tolist()
        rows[-1][:2] = solution.tolist()
        return Sampling(FAST, sampling.timesteps, sampling.start, tuple(map(tuple, rows)))

    def _score(self, pair: Pair, sampling: Sampling) -> Score:
        photo, target = self._photo(pair)
        picture = photo.picture(sampling)
        return compare(target, picture if pair.reference else same_brightness(target, picture))

    def _photo(self, pair: Pair) -> tuple[SmallPhoto, Array]:
        """With what it is compared with."""
        if pair not in self._opened:
            bright = pair.bright()
            bright = None if bright is None else small(bright, self._pixels)
            photo = SmallPhoto(self._backend, self._manifest, small(pair.dark(), self._pixels), bright, SEED)
            self._opened[pair] = photo, photo.picture(self._published) if bright is None else bright
        return self._opened[pair]

    def _place(self, pair: Pair) -> str:
        return f"{'small' if self._pixels == PIXELS else 'larger'} {pair.key}"
