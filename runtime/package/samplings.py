"""The samplings of a manifest: ``docs/package.md`` describes them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from ..names import PUBLISHED, STARTS
from .fields import Fields, show
from .sampling import Sampling

_NAME = re.compile("[a-z0-9][a-z0-9-]{0,31}")
_COEFFICIENT_LIMIT = 1e6
_MOST = 32
"""Samplings of a package."""


def samplings_json(samplings: Iterable[Sampling]) -> dict[str, Any]:
    """As a manifest has them, by name."""
    return {
        one.name: {
            "timesteps": list(one.timesteps),
            "start": one.start,
            "coefficients": None if one.coefficients is None else [list(row) for row in one.coefficients],
            "judged": dict(one.judged),
        }
        for one in samplings
    }


def samplings_from(top: Fields, total: int, published: Sampling | None = None) -> tuple[Sampling, ...]:
    """Those of the object ``samplings`` beside ``published``, which has to be there as it is. total:
    num_train_timesteps. Raises PackageError."""
    found = {name: _sampling(name, entry, total) for name, entry in top.children("samplings")}
    if found.pop(PUBLISHED, None) != published:
        raise top.wrong(f"its sampling {PUBLISHED!r} is missing or not the schedule's")
    if len(found) >= _MOST:
        raise top.wrong(f"it has {len(found) + 1} samplings; at most {_MOST} are allowed")
    return tuple(found.values())


def _sampling(name: str, entry: Fields, total: int) -> Sampling:
    if not _NAME.fullmatch(name):
        raise entry.wrong(f"the name {show(name)} is not one of small letters, digits and hyphens")

    def falls(steps: list[Any]) -> bool:
        sound = all(type(step) is int and 0 <= step < total for step in steps)
        return 0 < len(steps) <= total and sound and all(a > b for a, b in pairwise(steps))

    steps = entry.get("timesteps", list, falls, f"a list of timesteps that fall, each from 0 to {total - 1}")
    start, judged = entry.choice("start", STARTS), entry.get("judged", dict)

    def row(values: Any) -> bool:
        numbers = type(values) is list and len(values) == 5 and all(type(value) is float for value in values)
        return numbers and all(math.isfinite(value) and abs(value) <= _COEFFICIENT_LIMIT for value in values)

    def rows(values: list[Any]) -> bool:
        return len(values) == len(steps) and all(map(row, values))

    coefficients = entry.maybe("coefficients", list, rows, f"null, or for each of {len(steps)} timesteps five numbers")
    return Sampling(
        name, tuple(steps), start, None if coefficients is None else tuple(map(tuple, coefficients)), judged
    )
