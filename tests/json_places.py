"""Where values stand in a JSON document, and what may stand there in their place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Path_ = tuple[Any, ...]
KINDS: tuple[tuple[Any, ...], ...] = (
    (None,), (True, False), ("text", "", "x" * 20_000, "a\nb"), (7, -1, 10**400), (0.5, float("nan"), float("-inf")),
    ([], [[]], [1, 2], [None]), ({}, {"a": 1}),
)  # fmt: skip
"""One of each is a value of another type."""


def nodes(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Paths of every value in a JSON document, but of a manifest's ``provenance``, and of three elements of a long
    list."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            if (*path, key) != ("provenance",):
                yield from nodes(inner, (*path, key))
            else:
                yield (*path, key)
    elif isinstance(value, list):
        wanted = range(len(value)) if len(value) < 20 else (0, len(value) // 2, len(value) - 1)
        for index in wanted:
            yield from nodes(value[index], (*path, index))


def at(value: Any, path: Path_) -> Any:
    for key in path:
        value = value[key]
    return value


def last_key(path: Path_) -> str:
    return next(key for key in reversed(path) if isinstance(key, str))


def others(value: Any, turn: int) -> Iterator[Any]:
    """A value of each type that ``value`` does not have. turn: which of that type."""
    for kind in KINDS:
        if type(kind[0]) is not type(value):
            yield kind[turn % len(kind)]
