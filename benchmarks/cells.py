"""One field of a record -> a cell of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .job import Loop
from .records import Record

_MIB = 1 << 20


def engine_of(record: Record) -> str:
    """What computed."""
    subject = record["subject"]
    if subject["kind"] != "package":
        return f"{subject['kind']} {subject['variant']}"
    provider = f":{subject['provider']}" if subject["provider"] else ""
    return f"{subject['backend']}{provider} {subject['precision']}"


def size_of(record: Record) -> str:
    return f"{record['size'][0]}x{record['size'][1]}"


def loop_of(record: Record) -> str:
    """Such as ``published``, ``fast`` or ``5 steps``."""
    return Loop(record["calls"], record["sampler"], record["sampling"] or "").words


def what_of(record: Record) -> str:
    """The configuration, for a line of a list."""
    return f"{size_of(record)}, {engine_of(record)}, {loop_of(record)}"


def quality_of(record: Record) -> tuple[str, str]:
    """PSNR and SSIM against reference photos."""
    found = record.get("quality")
    return (f"{found['psnr_db']:.2f}", f"{found['ssim']:.3f}") if found else ("-", "-")


def fidelity_of(found: dict[str, Any] | None) -> tuple[str, str]:
    """PSNR and grey levels."""
    if found is None:
        return "-", "-"
    return "equal" if found["psnr_db"] is None else f"{found['psnr_db']:.2f} dB", str(found["grey_levels"])


def milliseconds(time: float | None) -> str:
    return "-" if time is None else number(time)


def mib(size: int | None) -> str:
    return "-" if size is None else f"{size // _MIB:,}"


def number(value: float) -> str:
    """Four digits that matter: 0.1234, 12.34, 1,234."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
