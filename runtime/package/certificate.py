"""What a package says of how near it comes to what it was made from: ``certificate.json``."""

from __future__ import annotations

from typing import Any

from .fields import Fields, read_json
from .manifest import CERTIFICATE
from .reading import Package

_MOST_DB = 1000


def read_certificate(package: Package) -> dict[str, Any]:
    """All of it. What programs read is checked: the rows of ``end_to_end``, each with its ``psnr_db`` and perhaps
    ``grey_levels`` (of 255) and ``sampling``, and those of ``samplings``; the rest is for people. Raises PackageError.
    """
    top = read_json(package.read(CERTIFICATE), str(package.path / CERTIFICATE))
    for name in ("end_to_end", "samplings"):
        for index, value in enumerate(top.get(name, list) if top.has(name) else ()):
            row = Fields(value, f"{top.where}: {name}[{index}]")
            if row.has("sampling"):
                row.get("sampling", str)
            if name == "end_to_end":
                row.real("psnr_db", -_MOST_DB, _MOST_DB)
                if row.has("grey_levels"):
                    row.real("grey_levels", 0, 255)
    return top.whole()
