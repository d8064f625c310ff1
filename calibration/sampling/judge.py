"""Samplings judged: whole photos that the search never saw, run as a user runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from runtime.cli.progress import Progress
from runtime.enhancer import Enhancer
from runtime.names import PUBLISHED
from runtime.package.sampling import Sampling
from runtime.planning.request import Request
from runtime.running.arguments import make_noise

from .photos import Pair, levels
from .score import Score, Scores, compare, mean_scores, same_brightness
from .state import JUDGED, State
from .trials import SEED

Array = NDArray[Any]


class Judge:
    """Compares with the reference, or else with the published picture."""

    def __init__(self, enhancer: Enhancer, pairs: Sequence[Pair], state: State, progress: Progress) -> None:
        self._enhancer, self.pairs, self._state, self._progress = enhancer, pairs, state, progress
        self._published = enhancer.manifest.samplings[PUBLISHED]

    def scores(self, rows: Mapping[str, Sampling]) -> dict[str, Scores]:
        """Of each row the mean over the photos."""
        found: dict[str, list[Scores]] = {name: [] for name in rows}
        with self._progress.count(len(self.pairs), "photo") as begin:
            for pair in self.pairs:
                begin(f"judging on {pair.name}")
                for name, values in self._measured(pair, rows).items():
                    found[name].append(Scores(Score(*values[:2]), Score(*values[2:])))
        return {name: mean_scores(each) for name, each in found.items()}

    def pictures(self, pair: Pair, samplings: Sequence[Sampling]) -> list[Array]:
        """Of each (H, W, 3) float32, 0 to 255."""
        dark = pair.dark()
        return [levels(self._run(dark, one)) for one in samplings]

    def _measured(self, pair: Pair, rows: Mapping[str, Sampling]) -> dict[str, list[float]]:
        place = f"{JUDGED}{pair.key}"
        known = {name: self._state.get(place, one) for name, one in rows.items()}
        found = {name: values for name, values in known.items() if values is not None}
        missing = [name for name in rows if name not in found]
        if missing:
            dark, target = pair.dark(), pair.bright()
            target = levels(self._run(dark, self._published)) if target is None else target
            for name in missing:
                picture = levels(self._run(dark, rows[name]))
                plain, equal = compare(target, picture), compare(target, same_brightness(target, picture))
                found[name] = [plain.psnr_db, plain.ssim, equal.psnr_db, equal.ssim]
                self._state.put(place, rows[name], found[name])
        return found

    def _run(self, dark: Array, sampling: Sampling) -> Array:
        height, width, _ = dark.shape
        noise = None
        if sampling.start == "normal":
            shape = self._enhancer.noise_shape(height, width)
            noise = make_noise(None, SEED, 1, shape, f"{width}x{height}", alone=True)
        request = Request(height, width, sampling.calls, 1, dark.itemsize)
        bright: Array = self._enhancer.runner.run(dark[None], noise, request, sampling).pixels[0]
        return bright
