"""Sizes of memory as people write them."""

from __future__ import annotations

import re

from ..errors import InputError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}
_SIZE = re.compile(
    r"\s*((?:\d{1,3}(?:,\d{3}){1,5}|\d{1,18})(?:\.\d{1,9})?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE | re.ASCII
)


def parse_size(size: int | str) -> int:
    """Bytes of ``size``: a whole number of bytes, or a string such as "2GiB", "512MiB", "1.5GB" (1000s), "800m". A
    string without a unit is in bytes too.

    Raises InputError for anything else, and for what is not above 0.
    """
    if isinstance(size, int) and not isinstance(size, bool):
        if size > 0:
            return size
    elif isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match and (found := round(float(match[1].replace(",", "")) * _UNITS[(match[2] or "").lower()])) > 0:
            return found
    raise InputError(f"the memory {size!r} is no size above 0; write it like 2GiB, 512MiB or 1.5GB.")


def parse_budget(size: int | str) -> int:
    """``parse_size`` of what a process is to stay under. Raises InputError below 1 MiB too: a unit is missing."""
    found = parse_size(size)
    if found < 1 << 20:
        raise InputError(f"the memory {size!r} is {show_size(found)}, which no process fits into; write it like 2GiB.")
    return found


def show_size(size: int) -> str:
    """Such as "1,234 MiB", rounded up, so that it is enough when it is given back as a budget; below 1 MiB in bytes."""
    return f"{mebibytes(size)} MiB" if size >= 1 << 20 else f"{size:,} bytes"


def mebibytes(size: int) -> str:
    """The number of ``show_size`` alone, for a table: MiB, rounded up."""
    return f"{-(-size // (1 << 20)):,}"
