"""docs/troubleshooting.md quotes what the code says."""

from __future__ import annotations

import ast
import re
from functools import cache

from page_checks import ROOT

HOLE = "\0"


@cache
def told_by_the_code() -> str:
    """Every text of the packages' sources, one a line."""
    texts = []
    for room in ("runtime", "export", "calibration", "training", "serving"):
        for file in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    texts.append(
                        "".join(str(one.value) if isinstance(one, ast.Constant) else HOLE for one in node.values)
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return "\n".join(texts)


def not_told(page: str) -> list[str]:
    """Quotes in the first column of which the code has not every part. ``...`` is what it puts in, and what stands
    before and after a colon or a semicolon may come from two places."""
    quotes = re.findall(r"^\| `(.+?)` \|", page, re.M)
    return [
        quote for quote in quotes if not all(part in told_by_the_code() for part in re.split(r"\.\.\.|[:;] ", quote))
    ]


def test_what_is_quoted_is_what_the_code_says():
    page = (ROOT / "docs/troubleshooting.md").read_text()
    assert len(re.findall(r"^\| `", page, re.M)) > 30
    assert not_told(page) == []


def test_a_planted_quote_is_found():
    assert not_told("| `cannot read ...: it is not there` | x | y |\n| `this enhancer was closed;` | x | y |") == [
        "cannot read ...: it is not there"
    ]
