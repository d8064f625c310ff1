"""Every page is true to the code: commands, links, snippets, names and figures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import page_checks as checks
import pytest
from page_checks import PAGES, ROOT

from runtime import Enhancer
from runtime.names import BACKENDS, PRECISIONS, TAKES
from runtime.package.manifest import FORMAT_VERSION


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_are_taken_by_their_parsers(page):
    assert checks.wrong_commands((ROOT / page).read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    assert checks.dead_links(page, (ROOT / page).read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_snippets_are_python_and_import_what_is_there(page):
    assert checks.wrong_snippets((ROOT / page).read_text()) == []


def test_planted_mistakes_are_found():
    page, wrong = Path("README.md"), checks.wrong_commands
    good = "```bash\npython -m runtime p d.jpg -o b.jpg --steps 5  # five\n```\n[a](docs/int8.md)"
    assert list(checks.commands(good)) == [["runtime", "p", "d.jpg", "-o", "b.jpg", "--steps", "5"]]
    assert wrong(good) == checks.dead_links(page, good) == []
    assert "unrecognized arguments: --step-count" in wrong("`python -m runtime p d -o b --step-count 5`")[0]
    assert "invalid choice" in wrong("```bash\nx && python -m runtime p d -o b --backend tensor\n```")[0]
    assert "no command" in wrong("`python -m export.enigne build/x --target openvino`")[0]
    links = "[a](docs/no.md) [b](docs/int8.md#no-such) [c](https://example.org) [d](docs/int8.md)"
    assert checks.dead_links(page, links) == ["docs/no.md", "docs/int8.md#no-such"]
    assert checks.wrong_snippets("```python\nfrom diffll import Enhancer, Enhance\n```") == ["diffll.Enhance"]
    assert wrong_precisions("| `ncnn` | CPUs | `[ncnn]` | fp32, int8 |") == ["ncnn: fp32, int8"]


def wrong_precisions(text: str) -> list[str]:
    """Rows of the README's table of backends that name other precisions than the code. openvino's cell says more."""
    wrong = []
    for name, cell in re.findall(r"^\| `([\w-]+)` \|.*\| `\[[\w-]+\]` \| (.*?) \|$", text, re.M):
        if set(re.findall("|".join(PRECISIONS), cell)) != set(TAKES[name]):
            wrong.append(f"{name}: {cell}")
    return wrong


def test_backends_and_their_precisions_are_those_of_the_code():
    text = (ROOT / "README.md").read_text()
    assert wrong_precisions(text) == []
    assert set(re.findall(r"^\| `([\w-]+)` \|.*\|$", text, re.M)) == set(BACKENDS)


def test_the_format_version_is_that_of_the_code():
    assert (ROOT / "docs/package.md").read_text().startswith(f"# The model package, format version {FORMAT_VERSION}\n")


def test_the_readme_embeds_as_it_says(bundled_package):
    (block,) = (one for one in checks.fenced((ROOT / "README.md").read_text(), "python") if "Enhancer.open" in one)
    dark = np.random.default_rng(1).integers(0, 60, (48, 64, 3), dtype=np.uint8)
    names = {"dark": dark, "darker": dark // 2, "Enhancer": Enhancer}
    exec(re.sub("^from diffll.*$", "", block, flags=re.M).replace("build/diffll-fp32", str(bundled_package)), names)
    assert names["bright"].shape == dark.shape
    assert names["bright"].mean() > dark.mean() + 20
    names["enhancer"].close()
