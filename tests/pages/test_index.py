"""docs/index.md names every page; CONTRIBUTING.md names files and names that are there."""

from __future__ import annotations

import re

from page_checks import ROOT


def test_every_page_is_in_the_index():
    listed = re.findall(r"^\| \[([\w/.-]+)\]\(\1\) \| \S.*\? \|$", (ROOT / "docs/index.md").read_text(), re.M)
    pages = sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))
    assert sorted(listed) == [page for page in pages if page != "index.md"]


def missing(text: str) -> list[str]:
    """Paths between backticks that are not there, and names of ours that their file, in brackets behind, has not."""
    paths = [one for one in re.findall(r"`([\w.-]+/[\w./-]*)`", text) if "NAME" not in one]
    absent = [one for one in paths if not (ROOT / one).exists()]
    for names, file in re.findall(r"((?:`\w+`(?:,| and)? ?)+)\(`([\w/]+\.py)`\)", text):
        source = (ROOT / file).read_text() if (ROOT / file).exists() else ""
        absent += [f"{file}: {one}" for one in re.findall(r"`(\w+)`", names) if not re.search(rf"\b{one}\b", source)]
    return absent


def test_where_a_change_goes_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert len(re.findall(r"\(`[\w/]+\.py`\)", text)) > 5
    assert missing(text) == []
    assert missing("`OPENER` (`runtime/backends/__init__.py`), `docs/no.md`") == [
        "docs/no.md",
        "runtime/backends/__init__.py: OPENER",
    ]
