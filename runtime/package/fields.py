"""Strict reading of a JSON object: every key known, every value of its type, or a PackageError that says where."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ..errors import PackageError, one_line

T = TypeVar("T")
_AGAIN = "build the package again"
_DEEPEST = 64  # objects and lists inside each other: what is read can be shown, copied and written again


def read_json(content: bytes, where: str, again: str = _AGAIN) -> Fields:
    """The JSON object in ``content``, no key twice and not nested deep. Raises PackageError. where: the file, for its
    messages; again: what to do about a damaged one."""
    try:
        raw = json.loads(content, object_pairs_hook=_unique)
        _check_depth(raw)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{where}: not whole JSON ({one_line(error)}); {again}.") from error
    return Fields(raw, where, again)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are all different: with two of a name, two readers could see two documents."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _check_depth(raw: Any) -> None:
    level = [raw]
    for _ in range(_DEEPEST):
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [value for values in inner for value in values]
    if level:
        raise ValueError(f"nested more than {_DEEPEST} deep")


class Fields:
    """One JSON object under ``where``. Ask for each key once, in a ``with`` block: a key that nobody asked for by its
    end is an error, because a newer writer may have meant something by it."""

    def __init__(self, value: Any, where: str, again: str = _AGAIN) -> None:
        self.where, self.again = where, again
        if not isinstance(value, dict):
            raise self.wrong(f"{show(value)} where an object is wanted")
        self._value = value
        self._asked: set[str] = set()

    def __enter__(self) -> Fields:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        unknown = sorted(set(self._value) - self._asked)
        if unknown and error is None:
            what = f"unknown key {show(unknown[0])}; it is damaged or of a newer toolkit"
            raise PackageError(f"{self.where}: {what}: update the runtime or {self.again}.")

    def wrong(self, what: str) -> PackageError:
        return PackageError(f"{self.where}: {what}; {self.again}.")

    def whole(self) -> dict[str, Any]:
        """All of it, for who has looked at every field."""
        return dict(self._value)

    def has(self, key: str) -> bool:
        return key in self._value

    def get(self, key: str, kind: type[T], sound: Callable[[T], object] = lambda _: True, wanted: str = "") -> T:
        """The value of ``key``. wanted: what ``sound`` takes a value of this type for, in words."""
        self._asked.add(key)
        if key not in self._value:
            raise self.wrong(f"the key {key!r} is missing")
        value = self._value[key]
        if type(value) is not kind or not sound(value):
            raise self.wrong(f"{key!r} is {show(value)}, and {wanted or kind.__name__} is wanted")
        return value

    def maybe(self, key: str, kind: type[T], sound: Callable[[T], object], wanted: str) -> T | None:
        """As ``get``, or None where the value is null."""
        return None if self.null(key) else self.get(key, kind, sound, wanted)

    def null(self, key: str) -> bool:
        """Whether the key is there and its value null; then it counts as asked for."""
        if key in self._value and self._value[key] is None:
            self._asked.add(key)
            return True
        return False

    def expect(self, key: str, wanted: Any) -> None:
        # by its text too: in a list, True == 1.0
        self.get(key, type(wanted), lambda value: value == wanted and repr(value) == repr(wanted), repr(wanted))

    def number(self, key: str, low: int, high: int) -> int:
        return self.get(key, int, lambda value: low <= value <= high, f"a whole number from {low} to {high}")

    def choice(self, key: str, choices: Sequence[Any]) -> Any:
        return self.get(key, str, lambda value: value in choices, f"one of {', '.join(choices)}")

    def amount(self, key: str, high: float) -> float:
        return self.get(key, float, lambda value: 0 <= value <= high, f"a number from 0 to {high:g}")  # so no nan

    def real(self, key: str, low: float, high: float) -> float:
        """A number, whole or not."""
        kind: type[float] = int if type(self._value.get(key)) is int else float
        return self.get(key, kind, lambda value: low <= value <= high, f"a number from {low:g} to {high:g}")

    def floats(self, key: str, count: int) -> tuple[float, ...]:
        def sound(values: list[Any]) -> bool:
            return len(values) == count and all(type(value) is float and 0 < value < 1 for value in values)

        values = self.get(key, list, sound, f"a list of {count} numbers between 0 and 1")
        return tuple(values)

    def child(self, key: str) -> Fields:
        return Fields(self.get(key, dict), f"{self.where}: {key}", self.again)

    def children(self, key: str) -> Iterator[tuple[str, Fields]]:
        """The entries of an object whose keys are free names."""
        for name, value in self.get(key, dict).items():
            with Fields(value, f"{self.where}: {key}: {show(name)}", self.again) as entry:
                yield name, entry

    def items(self, key: str) -> Iterator[Fields]:
        """The entries of a list of objects."""
        for index, value in enumerate(self.get(key, list)):
            with Fields(value, f"{self.where}: {key}[{index}]", self.again) as entry:
                yield entry


def show(value: Any) -> str:
    """``value`` for a message: a stranger's, so of any length and depth."""
    try:
        text = repr(value)
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) <= 80 else text[:77] + "..."
