"""Which processor this is, where an engine does things on one kind that it does not on others."""

from __future__ import annotations

import platform


def is_x86() -> bool:
    """Whether this process runs on a 64-bit x86 processor."""
    return platform.machine().lower() in ("x86_64", "amd64")
