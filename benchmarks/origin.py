"""What a package says that it was built from. Its provenance is free: what goes into records, and what checkpoints are
found by, is checked here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from runtime.package.fields import Fields
from runtime.package.manifest import MANIFEST
from runtime.package.reading import Package

from .schema import ARCHITECTURE, is_architecture

_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Origin:
    """Of one package."""

    checkpoint: str
    """Its file's name, or "" where the package does not say."""
    checkpoint_sha256: str
    """Or ""."""
    architecture: dict[str, Any] | None
    """Widths and counts by name."""


def origin(package: Package) -> Origin:
    """Raises PackageError for what is there and of another form."""
    own = Fields(package.manifest.provenance, f"{package.path / MANIFEST}: provenance")
    return Origin(
        own.get("checkpoint", str) if own.has("checkpoint") else "",
        own.get("checkpoint_sha256", str, _DIGEST.fullmatch, "64 hexadecimal digits")
        if own.has("checkpoint_sha256")
        else "",
        own.maybe("architecture", dict, is_architecture, ARCHITECTURE) if own.has("architecture") else None,
    )
