"""The house, read from its imports: who may import whom, and that neither files nor folders grow without end."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = [
    name for name in ("runtime", "export", "calibration", "training", "serving", "benchmarks") if (ROOT / name).is_dir()
]
MAY_IMPORT = {
    "runtime": (),
    "export": ("runtime",),
    "calibration": ("runtime", "export.passes"),
    "training": ("runtime", "export"),
    "serving": ("runtime",),
    "benchmarks": ("runtime", "export"),
}
FLOORS = [  # of runtime/, from the bottom: a room imports from its own floor and from those below
    {"errors", "names"},
    {"machine"},
    {"image"},
    {"package", "photo"},
    {"sampler"},
    {"planning"},
    {"engines"},
    {"backends"},
    {"running"},
    {"enhancer"},
    {"__init__"},
    {"cli"},
    {"doctor"},
    {"__main__", "plan", "video"},  # commands: a name for a module of cli/
]
MOST_ENTRIES, MOST_ARROWS, MOST_LINES = 20, 60, 400


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file, of every module; a folder's is its __init__."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports(module: str) -> Iterator[str]:
    """The modules of ours that ``module`` imports anywhere in its text: also late, also for type checking alone."""
    file = modules()[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found = [one if (one := f"{base}.{alias.name}") in modules() else base for alias in node.names]
        else:
            continue
        yield from (one for one in found if one in modules() and one != module)


@cache
def arrows() -> frozenset[tuple[str, str]]:
    return frozenset((module, other) for module in modules() for other in imports(module))


def room(module: str) -> str:
    return next(iter(module.split(".")[1:]), "__init__")


def room_arrows() -> dict[tuple[str, str], tuple[str, str]]:
    """(room, room that it imports) -> one pair of modules that does, within runtime/."""
    inside = [(a, b) for a, b in sorted(arrows()) if a.partition(".")[0] == b.partition(".")[0] == "runtime"]
    return {(room(a), room(b)): (a, b) for a, b in inside if room(a) != room(b)}


def test_the_top_level_of_runtime_can_be_taken_in_at_a_glance():
    entries = {path.name for path in (ROOT / "runtime").iterdir()} - {"__pycache__"}
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def test_every_room_has_a_floor():
    rooms = {room(name) for name in modules() if name.partition(".")[0] == "runtime"}
    assert rooms - set().union(*FLOORS) == set()


def test_no_arrow_runs_up():
    floor = {name: number for number, rooms in enumerate(FLOORS) for name in rooms}
    assert [f"{a} imports {b}" for (up, down), (a, b) in room_arrows().items() if floor[up] < floor[down]] == []


def test_there_are_few_arrows_between_rooms():
    assert len(room_arrows()) <= MOST_ARROWS


def test_no_circle_between_modules():
    graph: dict[str, set[str]] = {}
    for module, other in arrows():
        graph.setdefault(module, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("package", PACKAGES)
def test_who_may_import_whom(package):
    allowed = (package, *MAY_IMPORT[package])
    wrong = [
        f"{a} imports {b}"
        for a, b in sorted(arrows())
        if a.partition(".")[0] == package and not any(b == one or b.startswith(f"{one}.") for one in allowed)
    ]
    assert wrong == []


def test_no_file_is_long():
    lines = {name: len(file.read_text().splitlines()) for name, file in modules().items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
