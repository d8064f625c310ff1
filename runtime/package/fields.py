"""Strict reading of a JSON object: every key known, every value of its type, or a PackageError that says where."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from ..errors import PackageError

T = TypeVar("T")


class Fields:
    """One JSON object under ``where``. Ask for each key once, then call :meth:`finish`: a key that nobody asked
    for is an error, because a newer writer may have meant something by it."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise PackageError(f"{where}: {show(value)} where an object is wanted; build the package again.")
        self.where = where
        self._value = value
        self._asked: set[str] = set()

    def get(self, key: str, kind: type[T]) -> T:
        self._asked.add(key)
        if key not in self._value:
            raise PackageError(f"{self.where}: the key {key!r} is missing; build the package again.")
        value = self._value[key]
        if type(value) is not kind:
            raise self._wrong(key, f"{kind.__name__} wanted")
        return value

    def expect(self, key: str, wanted: Any) -> None:
        value = self.get(key, type(wanted))
        if value != wanted or repr(value) != repr(wanted):  # in a list, True == 1.0
            raise self._wrong(key, f"this runtime knows {wanted!r}")

    def number(self, key: str, low: int, high: int) -> int:
        value = self.get(key, int)
        if not low <= value <= high:
            raise self._wrong(key, f"{low} to {high} wanted")
        return value

    def amount(self, key: str, high: float) -> float:
        value = self.get(key, float)
        if not 0 <= value <= high:  # false for a nan too
            raise self._wrong(key, f"0 to {high:g} wanted")
        return value

    def choice(self, key: str, choices: Sequence[Any]) -> Any:
        value = self.get(key, str)
        if value not in choices:
            raise self._wrong(key, f"one of {', '.join(choices)} wanted")
        return value

    def floats(self, key: str, count: int) -> tuple[float, ...]:
        values = self.get(key, list)
        if len(values) != count or not all(type(v) is float and math.isfinite(v) and 0 < v < 1 for v in values):
            raise self._wrong(key, f"{count} numbers between 0 and 1 wanted")
        return tuple(values)

    def child(self, key: str) -> Fields:
        return Fields(self.get(key, dict), f"{self.where}: {key}")

    def children(self, key: str) -> Iterator[tuple[str, Fields]]:
        """The entries of an object whose keys are free names."""
        for name, value in self.get(key, dict).items():
            yield name, Fields(value, f"{self.where}: {key}: {show(name)}")

    def items(self, key: str) -> Iterator[Fields]:
        """The entries of a list of objects."""
        for index, value in enumerate(self.get(key, list)):
            yield Fields(value, f"{self.where}: {key}[{index}]")

    def finish(self) -> None:
        unknown = sorted(set(self._value) - self._asked)
        if unknown:
            raise PackageError(
                f"{self.where}: unknown key {show(unknown[0])}; the package is damaged or of a newer toolkit: "
                "update the runtime."
            )

    def _wrong(self, key: str, wanted: str) -> PackageError:
        value = show(self._value[key])
        return PackageError(f"{self.where}: {key!r} is {value}; {wanted}. Build the package again.")


def show(value: Any) -> str:
    """``value`` for a message: a stranger's, so of any length and depth."""
    try:
        text = repr(value)
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) <= 80 else text[:77] + "..."
