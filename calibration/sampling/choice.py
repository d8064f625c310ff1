"""Which of the judged samplings becomes ``fast``, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.package.sampling import Sampling

from .score import Score, Scores
from .state import text

NEAR = Score(24.0, 0.9)
"""Where no reference says what is good: the mean of pictures near enough to the published ones, at equal brightness.
The bundled checkpoint's 80, 40 from zero, which is as good by LOLv1's references, has 26.5 dB and 0.947; an evenly
spaced loop of two calls, which leaves the noise in, has an SSIM of 0.65 to 0.81 as it is."""
_GUARD = 1000  # dB for an SSIM of 1: 0.001 less costs a dB, or brightness alone would outweigh any noise
VISIBLE_DB = 0.05  # less is no reason for another call, or for coefficients of one's own


@dataclass(frozen=True)
class Bar:
    """What ``fast`` is held against on the judging photos."""

    references: bool
    """Whether the photos have them; else the published picture is the measure."""
    published: Score
    """NEAR where there are no references."""
    budget_db: float
    budget_ssim: float

    def of(self, scores: Scores) -> Score:
        """The one of the two that counts."""
        return scores.plain if self.references else scores.equal

    def holds(self, scores: Scores) -> bool:
        found = self.of(scores)
        enough = found.psnr_db >= self.published.psnr_db - self.budget_db
        return enough and found.ssim >= self.published.ssim - self.budget_ssim

    def value(self, score: Score) -> float:
        """Of one in the search, which is to keep the budget in SSIM for the judging: PSNR guarded by SSIM."""
        return score.psnr_db - _GUARD * max(0.0, self.published.ssim - score.ssim)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    sampling: Sampling
    scores: Scores


def better_coefficients(plain: Row, fitted: Row, bar: Bar) -> Row:
    """``fitted`` where that is visible and costs no SSIM."""
    a, b = bar.of(plain.scores), bar.of(fitted.scores)
    return fitted if b.psnr_db >= a.psnr_db + VISIBLE_DB and b.ssim >= a.ssim else plain


def choose(rows: Sequence[Row], bar: Bar) -> Row | None:
    """The one of most PSNR that the bar holds; of those that are as good, the one of fewest calls, and from zero.

    Without references none that loses more SSIM than the budget to another: noise that a short loop leaves in a picture
    costs SSIM, and a picture may be the nearest to the published one by PSNR for all that.
    """
    good = [row for row in rows if bar.holds(row.scores)]
    if not good:
        return None
    if not bar.references:
        clean = max(bar.of(row.scores).ssim for row in good) - bar.budget_ssim
        good = [row for row in good if bar.of(row.scores).ssim >= clean]
    most = max(bar.of(row.scores).psnr_db for row in good)
    as_good = [row for row in good if bar.of(row.scores).psnr_db > most - VISIBLE_DB]
    return min(as_good, key=lambda row: (row.sampling.calls, row.sampling.start != "zero"))


def why(row: Row, bar: Bar) -> str:
    found = bar.of(row.scores)
    measured = f"{found.psnr_db:.2f} dB and SSIM {found.ssim:.3f}"
    limits = f"{bar.published.psnr_db:.2f} dB and {bar.published.ssim:.3f}"
    if bar.references:
        against = f"against the references, where `published` has {limits}"
    else:
        against = f"against the published picture at equal brightness, where {limits} are near enough"
    calls = f"{row.sampling.calls} call{'s' * (row.sampling.calls != 1)}"
    of_those = "within the budgets" if bar.references else "of those with no less SSIM than the best, less the budget,"
    return (
        f"`fast` is {text(row.sampling)}: its {calls} reach the most PSNR {of_those} on the judging photos, "
        f"{measured} {against} (budgets {bar.budget_db:g} dB and {bar.budget_ssim:g})."
    )


def refusal(rows: Sequence[Row], bar: Bar, calls: int, enough: Row | None, tried: int) -> str:
    """Why no ``fast`` was written, and how many calls would do. rows: the best of up to ``calls`` calls."""
    best = max(rows, key=lambda row: bar.value(bar.of(row.scores)))
    found = bar.of(best.scores)
    limits = f"{bar.published.psnr_db:.2f} dB and {bar.published.ssim:.3f}"
    if enough is not None:
        more = (
            f"{enough.sampling.calls} calls would do ({text(enough.sampling)}): give --calls {enough.sampling.calls}."
        )
    else:
        more = f"{tried} calls would not do either: give larger budgets, or fine-tune the network to few calls."
    return (
        f"no `fast` was written: the best of at most {calls} calls ({text(best.sampling)}) has {found.psnr_db:.2f} dB "
        f"and SSIM {found.ssim:.3f} on the judging photos, and {limits} less the budgets ({bar.budget_db:g} dB, "
        f"{bar.budget_ssim:g}) are wanted; {more}"
    )
