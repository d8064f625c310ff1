"""Memory in numbers: sizes as people write them, what the machine has free, what this process takes."""

from __future__ import annotations

import re
from pathlib import Path

from .errors import InputError

_UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 1 << 10,
    "mi": 1 << 20,
    "gi": 1 << 30,
    "ti": 1 << 40,
}
_SIZE = re.compile(
    r"\s*((?:\d{1,3}(?:,\d{3}){1,5}|\d{1,18})(?:\.\d{1,9})?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE | re.ASCII
)


def parse_size(size: int | str) -> int:
    """Bytes of ``size``: a whole number of bytes, or a string such as "2GiB", "512MiB", "1.5GB" (1000s), "800m".

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


def show_size(size: int) -> str:
    """Such as "1,234 MiB", rounded up, so that it is enough when it is given back as a budget."""
    return f"{-(-size // (1 << 20)):,} MiB"


def free_memory_bytes(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What a process may still take without swapping: the machine's, or what the container's limit (cgroup v2)
    leaves; None where it is not told."""
    try:
        match = re.search(r"^MemAvailable: *(\d+) kB", meminfo.read_text(), re.MULTILINE)
    except OSError:
        return None
    if match is None:
        return None
    free = int(match[1]) << 10
    try:
        limit, used = (cgroup / "memory.max").read_text(), (cgroup / "memory.current").read_text()
        free = min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no cgroup v2, or "max": no limit
        pass
    return max(free, 0)


def resident_bytes(status: Path = Path("/proc/self/status")) -> int | None:
    """What this process holds in memory now; None where it is not told."""
    try:
        match = re.search(r"^VmRSS:\s*(\d+) kB", status.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) << 10 if match else None
