"""The table of a sampling's calibration, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from .choice import Row
from .score import Score
from .state import text

_CEILING = 199  # dB: from here on two pictures are the same


def table(rows: Sequence[Row], *, references: bool, photos: int) -> str:
    """What each row reached on the judging photos."""
    what = "the references" if references else "the published picture"
    lines = [
        f"PSNR and SSIM against {what}, mean of {photos} photo{'s' * (photos != 1)} that the search did not see; on",
        "the right with a gain that makes the mean brightness equal:",
        "",
        "| sampling | timesteps; x_T | calls | PSNR (dB) | SSIM | PSNR (dB), equal brightness | SSIM |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {row.name} | {_shown(row)} | {row.sampling.calls} | {_cells(row.scores.plain)} | "
            f"{_cells(row.scores.equal)} |"
            for row in rows
        ),
    ]
    return "\n".join(lines) + "\n"


def _shown(row: Row) -> str:
    if row.sampling.calls > 6:
        steps = row.sampling.timesteps
        return f"{steps[0]}, {steps[1]}, ..., {steps[-1]}; {row.sampling.start}"
    return text(row.sampling)


def _cells(score: Score) -> str:
    return "- | -" if score.psnr_db > _CEILING else f"{score.psnr_db:.2f} | {score.ssim:.3f}"


def page(rows_table: str, reason: str, searched: Sequence[str], judged: Sequence[str], command: str) -> str:
    """``sampling.md`` of the package."""
    return "\n".join(
        [
            "# How `fast` was found",
            "",
            f"    {command}",
            "",
            reason,
            "",
            rows_table,
            f"Searched on: {', '.join(searched)}.",
            "",
            f"Judged on: {', '.join(judged)}.",
            "",
            "![quality over calls](sampling.png)",
            "",
        ]
    )
