"""What ``export.engine`` asks of a target's builder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from runtime.names import Target

Built = tuple[dict[str, bytes], dict[str, Any]]
"""An engine's files, and what there is to report, such as its ``activation_bytes``."""


class Builder(Protocol):
    """Builds the engines of one target. Making one checks all that can be checked before a build: it raises
    BackendUnavailableError for a library, InputError for an option or a machine."""

    target: Target
    flags: Mapping[str, Any]
    """Every option that an engine depends on: part of its key."""
    environment: Mapping[str, Any]
    """What of this machine an engine depends on: part of its key."""

    def build(self, graph: bytes, profile: Mapping[str, Any], timing_cache: Path) -> Built:
        """profile: input -> its smallest, usual and largest shape; empty: every size. Raises EngineError with the
        library's own words."""
