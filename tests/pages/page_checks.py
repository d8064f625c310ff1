"""What can be false on a page: a command that its parser refuses, a link to nothing, a snippet that is no Python or
names what is not there. Each check takes the text of a page, so that the tests can plant mistakes."""

from __future__ import annotations

import ast
import importlib
import io
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from runtime.cli.command import Parser

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    file.relative_to(ROOT)
    for pattern in ("*.md", "docs/*.md", "assets/*.md", "benchmarks/results/**/*.md")
    for file in ROOT.glob(pattern)
)
_PLACEHOLDERS = {
    "WxH": "64x48",
    "WIDTHxHEIGHT": "64x48",
    "SIZE": "1GiB",
    "N": "2",
    "SECONDS": "9",
    "X,Y": "80,40",
    "NAME": "auto",
}
_SEPARATORS = re.compile(r"\s(?:&&|\|\||[|>])\s|;\s")


class Parsed(BaseException):
    """The parser has taken the words; no command may run."""


def fenced(text: str, language: str) -> list[str]:
    return [re.sub(r"^ {0,3}", "", block, flags=re.M) for block in _fences(text, language)]


def _fences(text: str, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.S | re.M)


def commands(text: str) -> Iterator[list[str]]:
    """The words after ``python -m`` of each command of ours, in a block or between backticks."""
    lines = [line for block in fenced(text, "bash") for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`]*python3? -m [^`]*)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.S | re.M))
    ours = {"runtime", "diffll", *(folder.parent.name for folder in ROOT.glob("*/__init__.py"))}
    for line in lines:
        for part in _SEPARATORS.split(re.sub(r"\s#\s.*", "", " ".join(line.split()))):
            found = re.search(r"(?:^|[\s/`])python3? -m (\S+.*)", part)
            if found and found[1].partition(" ")[0].partition(".")[0] in ours:
                yield shlex.split(found[1])


def refusal(words: list[str]) -> str:
    """Why the command's own parser does not take these words; empty where it does. On a page a bare name, ``...`` and
    ``[OPTION]`` leave out what else is needed or may be given."""
    module, *arguments = [word for word in (one.strip("[]") for one in words) if word]
    partly = not arguments or "..." in arguments
    module = re.sub("^diffll", "runtime", module)
    arguments = [_PLACEHOLDERS.get(word, word) for word in arguments if word != "..."]

    def parse(self: Parser, args: object = None, namespace: object = None) -> None:
        Parser.parse_intermixed_args(self, args, namespace)
        raise Parsed

    said = io.StringIO()
    with (
        patch.object(Parser, "parse_args", parse),
        patch.object(sys, "argv", [module, *arguments]),
        redirect_stderr(said),
        redirect_stdout(said),
    ):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except Parsed:
            return ""
        except ImportError as error:
            return f"no command: {error}"
        except SystemExit as end:
            why = "" if end.code == 0 else said.getvalue().strip()
            return "" if partly and "arguments are required" in why else why
    return "it ran without parsing anything"


def wrong_commands(text: str) -> list[str]:
    return [f"python -m {' '.join(words)}: {why}" for words in commands(text) if (why := refusal(words))]


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def dead_links(page: Path, text: str) -> list[str]:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.S)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        if not file.exists():
            dead.append(target)
        elif anchor:
            content = text if not name else file.read_text()
            if anchor not in {slug(heading) for heading in re.findall(r"^#+ (.*)$", content, re.M)}:
                dead.append(target)
    return dead


def wrong_snippets(text: str) -> list[str]:
    """Python blocks that do not compile, or that import what we do not have."""
    wrong = []
    for block in fenced(text, "python"):
        try:
            tree = ast.parse(block)
        except SyntaxError as error:
            wrong.append(f"{error.msg}: {(error.text or '').strip()}")
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("runtime", "diffll"):
                module = importlib.import_module(re.sub("^diffll", "runtime", node.module or ""))
                wrong += [f"{node.module}.{one.name}" for one in node.names if not hasattr(module, one.name)]
    return wrong
