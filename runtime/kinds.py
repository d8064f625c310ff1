"""The plans by name. Alone in a file, for commands that answer ``--help`` without numpy."""

from __future__ import annotations

from typing import Literal, get_args

Kind = Literal["whole", "strips", "tiles"]
KINDS: tuple[str, ...] = get_args(Kind)
