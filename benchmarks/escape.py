"""Texts of records, which are strangers' to a report: made harmless for Markdown and for the labels of plots."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from runtime.cli.command import printable

from .records import Record

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SYNTAX = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")  # an underscore inside a word means nothing
_KEPT = ("schema", "id", "run")  # not shown: compared with one another


def for_markdown(records: Iterable[Record]) -> list[Record]:
    """Copies whose texts are one line each and show as they are written, in a table too: no HTML, link or emphasis."""
    return [_mapped(record, _markdown) for record in records]


def for_plots(records: Iterable[Record]) -> list[Record]:
    """Copies whose texts are one line each, without mathematics for matplotlib."""
    return [_mapped(record, lambda text: _line(text).replace("$", r"\$")) for record in records]


def _mapped(record: Record, change: Callable[[str], str]) -> Record:
    def mapped(value: Any) -> Any:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, list):
            return [mapped(one) for one in value]
        if isinstance(value, dict):
            return {change(name): mapped(one) for name, one in value.items()}
        return value

    return {name: value if name in _KEPT else mapped(value) for name, value in record.items()}


def _markdown(text: str) -> str:
    """Entities for HTML, which every reader of Markdown knows, and backslashes for the rest."""
    shown = "".join(_ENTITIES.get(one, one) for one in _line(text))
    return _SYNTAX.sub(r"\\\g<0>", shown)


def _line(text: str) -> str:
    return printable(" ".join(text.split()))
