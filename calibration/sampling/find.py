"""The whole of it: search, fit, judge, choose, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from runtime.backends import open_backend
from runtime.cli.progress import Progress
from runtime.enhancer import Enhancer
from runtime.names import FAST, PUBLISHED, Start
from runtime.package.reading import Package
from runtime.package.sampling import Sampling
from runtime.package.writing import check_output, package_folder
from runtime.sampler import evenly_spaced

from . import pictures
from .choice import NEAR, VISIBLE_DB, Bar, Row, better_coefficients, choose, refusal, why
from .judge import Judge
from .package import PLOT, SHEET, TABLE, write
from .photos import Pair, few_judged, levels
from .photos import choose as choose_photos
from .report import page, table
from .score import Score
from .search import Search
from .state import State
from .trials import MORE_PIXELS, PIXELS, Trials

_MOST_TRIED = 5  # calls, to say how many would do
_PADDINGS = 2  # a photo has sides of at least so many paddings
_STARTS: tuple[Start, ...] = "zero", "normal"
_FROM = {"zero": "zero", "normal": "noise"}
_FINALISTS = 5  # of each start and number of calls, tried on larger photos
_SHOWN = 3  # judging photos on the sheet


@dataclass(frozen=True)
class Options:
    """What the command lets choose."""

    references: Path | None
    calls: int
    budget_db: float
    budget_ssim: float


@dataclass(frozen=True)
class Found:
    """What is told at the end."""

    table: str
    refusal: str = ""
    """Why no package was written."""


def find(
    package: Package, photos: Sequence[Path], output: Path, options: Options, *, overwrite: bool, progress: Progress
) -> Found:
    """Write the package with ``fast`` to the directory ``output``, or nothing where no sampling is good enough.

    Killed, it goes on from the scores measured so far when it is called again with the same package and photos. Raises
    InputError, PackageError or EngineError; then ``output`` is as before.
    """
    check_output(output, overwrite)
    searched, judged = choose_photos(photos, options.references, _PADDINGS * package.manifest.pad_multiple)
    if few := few_judged(len(judged)):
        progress.note(few)
    keys = [[pair.key for pair in pairs] for pairs in (searched, judged)]
    state = State(output, {"version": 1, "package": package.sha256, "photos": keys, "pixels": PIXELS}, progress)
    if state.resumed:
        progress.note("going on from the scores of an earlier run")
    backend = open_backend("onnxruntime", package, None)
    with Enhancer(package, backend) as enhancer:
        small, larger = (
            Trials(backend, package.manifest, searched, state, progress, pixels) for pixels in (PIXELS, MORE_PIXELS)
        )
        judge = Judge(enhancer, judged, state, progress)
        result = _Calibration(package, options, small, larger, judge).run()
        progress.note(
            f"{result.tried} samplings tried, {small.runs} runs of the denoiser on small photos, "
            f"{larger.runs} on larger ones"
        )
        lines = table(result.rows, references=options.references is not None, photos=len(judged))
        if result.chosen is None:
            state.remove()
            return Found(lines, result.reason)
        fast = replace(result.chosen.sampling, judged=_judged(package, options, searched, judged, result))
        text = page(lines, result.reason, [p.name for p in searched], [p.name for p in judged], fast.judged["command"])
        files = {
            TABLE: text.encode(),
            PLOT: pictures.plot(result.found, result.even, result.bar),
            SHEET: pictures.sheet(_sheet(judge, fast, package.manifest.samplings[PUBLISHED])),
        }
    with package_folder(output, overwrite) as work:
        write(work, package, fast, files)
    state.remove()
    return Found(f"{lines}\n{result.reason}\n")


@dataclass(frozen=True)
class _Result:
    bar: Bar
    published: Row
    found: list[Row]
    """The best of each number of calls."""
    even: list[Row]
    """Evenly spaced ones of as many."""
    rows: list[Row]
    """All, as the table has them."""
    chosen: Row | None
    reason: str
    tried: int


class _Calibration:
    def __init__(self, package: Package, options: Options, small: Trials, larger: Trials, judge: Judge) -> None:
        self._manifest, self._options, self._judge = package.manifest, options, judge
        self._small, self._larger = small, larger
        total = self._manifest.num_train_timesteps
        self._searches = [Search(total, start, lambda new: self._values(self._small, new)) for start in _STARTS]

    def run(self) -> _Result:
        options, total = self._options, self._manifest.num_train_timesteps
        numbers = range(1, min(options.calls, total) + 1)
        alphas = np.asarray(self._manifest.alphas_cumprod)
        even = {f"`--steps {n}`": evenly_spaced(alphas, n) for n in numbers if total % n == 0}
        samplings, fits = {"`published`": self._manifest.samplings[PUBLISHED], **even}, {}
        for n in numbers:
            for name, one in self._best(n).items():
                samplings[name], fitted = one, self._larger.fitted(one)
                before, after = self._values(self._larger, [one, fitted])
                if after >= before + VISIBLE_DB:
                    fits[name] = f"{name}, last row fitted"
                    samplings[fits[name]] = fitted
        rows = self._rows(samplings)
        bar = self._bar(rows["`published`"].scores.plain)
        plain = [rows[name] for n in numbers for name in self._best(n)]
        found = [better_coefficients(row, rows[fits[row.name]], bar) if row.name in fits else row for row in plain]
        chosen = choose(found, bar)
        if chosen is not None:
            reason = why(chosen, bar)
        else:
            enough = self._enough(bar)
            reason = refusal(found, bar, options.calls, enough, max(_MOST_TRIED, options.calls))
            rows |= {enough.name: enough} if enough else {}
        best = [max((row for row in found if row.sampling.calls == n), key=lambda r: bar.value(bar.of(r.scores)))
                for n in numbers]  # fmt: skip
        return _Result(
            bar, rows["`published`"], best, [rows[name] for name in even], list(rows.values()), chosen, reason,
            sum(len(search.values) for search in self._searches),
        )  # fmt: skip

    def _best(self, calls: int) -> dict[str, Sampling]:
        """From each start: of the best on small photos the best on larger ones."""
        found = []
        for search in self._searches:
            few = search.best(calls)[:_FINALISTS]
            values = dict(zip(few, self._values(self._larger, few), strict=True))
            found.append(max(few, key=values.__getitem__))
        return {f"best of {calls} call{'s' * (calls != 1)} from {_FROM[one.start]}": one for one in found}

    def _values(self, trials: Trials, samplings: Sequence[Sampling]) -> list[float]:
        bar = self._bar(trials.published)
        return [bar.value(score) for score in trials.scores(samplings)]

    def _bar(self, published: Score) -> Bar:
        references, options = self._options.references is not None, self._options
        return Bar(references, published if references else NEAR, options.budget_db, options.budget_ssim)

    def _enough(self, bar: Bar) -> Row | None:
        """The best of more calls than were asked for, of the fewest that do."""
        for n in range(self._options.calls + 1, min(_MOST_TRIED, self._manifest.num_train_timesteps) + 1):
            row = choose(list(self._rows(self._best(n)).values()), bar)
            if row is not None:
                return row
        return None

    def _rows(self, samplings: Mapping[str, Sampling]) -> dict[str, Row]:
        scores = self._judge.scores(samplings)
        return {name: Row(name, one, scores[name]) for name, one in samplings.items()}


def _judged(
    package: Package, options: Options, searched: Sequence[Pair], judged: Sequence[Pair], result: _Result
) -> dict[str, Any]:
    """What the manifest says of ``fast``. Names of files, and no paths: they are the user's."""
    assert result.chosen is not None
    references = options.references is not None
    digest = package.manifest.provenance.get("checkpoint_sha256")
    given = f" --references {options.references.name}" if options.references else ""
    budgets = f"--budget-db {options.budget_db:g} --budget-ssim {options.budget_ssim:g}"

    def figures(row: Row) -> dict[str, float]:
        score, equal = row.scores.plain, row.scores.equal
        pairs = {"psnr_db": score.psnr_db, "ssim": score.ssim}
        pairs |= {"equal_brightness_psnr_db": equal.psnr_db, "equal_brightness_ssim": equal.ssim}
        return {name: round(value, 2 if name.endswith("db") else 4) for name, value in pairs.items()}

    return {
        **({"checkpoint_sha256": digest} if isinstance(digest, str) else {}),
        "package_sha256": package.sha256,
        "precision": package.manifest.precision,
        "photos": {"search": [pair.name for pair in searched], "judging": [pair.name for pair in judged]},
        "references": references,
        PUBLISHED: figures(result.published),
        FAST: figures(result.chosen),
        "command": f"python -m calibration.sampling {package.path.name} PHOTO...{given} "
        f"--calls {options.calls} {budgets}",
    }


def _sheet(judge: Judge, fast: Sampling, published: Sampling) -> list[dict[str, Any]]:
    shown = []
    for pair in judge.pairs[:_SHOWN]:
        before, after = judge.pictures(pair, [published, fast])
        photo = {"dark": levels(pair.dark()), "published": before, "fast": after}
        bright = pair.bright()
        shown.append(photo if bright is None else {**photo, "reference": bright})
    return shown
