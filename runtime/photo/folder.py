"""The folder that photos are written to."""

from __future__ import annotations

from pathlib import Path

from ..machine.durable import make_folder
from ..machine.leftovers import tidy


def output_folder(path: Path) -> None:
    """Make it where it is missing, and take away what killed runs left in it. Raises OSError."""
    make_folder(path)
    tidy(path)
