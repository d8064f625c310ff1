"""``python -m runtime.doctor`` (on a device: ``python -m diffll.doctor``): what runs here, and what to type if not.

``--json`` prints one object: ``ok`` (no problem), ``summary``, ``version`` (ours), ``machine`` (``platform``,
``python``, ``jetson``, ``processor``, ``features`` and ``features_missing``, ``usable_cores``, ``memory_mib``),
``gpu`` (null, or ``name``, ``compute_capability``, ``integrated``, ``driver_cuda``), ``libraries`` (distribution ->
version) and ``checks``, a list of ``section`` (``libraries``, ``gpu``, ``backends``, ``package`` or
``engines``), ``name``, ``verdict`` (``ok``, ``absent``: not here and no fault, or ``problem``), ``detail``, ``fix``
(the line to type, or "") and ``version``. Exit code: 0 without a problem, 1 with one, 2 for a mistake in the command.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cli.command import ROOT, SOME_FAILED, Parser, printable, program, run_command

if TYPE_CHECKING:
    from ..package.reading import Package

_MARKS = {"ok": "ok", "absent": "-", "problem": "PROBLEM"}


def main(argv: Sequence[str] | None = None) -> int:
    what = "Run a tiny graph on every backend of this machine and say what works and what to type if not."
    parser = Parser(prog=program("doctor"), description=what, examples=("%(prog)s", "%(prog)s build/diffll-fp32"))
    package = "check this package too: its hashes, its self-test on each backend, its engines"
    parser.add_argument("package", nargs="?", type=Path, metavar="PACKAGE", help=package)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)

    from ..package.reading import Package

    report = examine(Package.open(args.package) if args.package else None)
    print(json.dumps(report, indent=1) if args.json else "\n".join(map(printable, lines(report))))
    return 0 if report["ok"] else SOME_FAILED


def examine(package: Package | None) -> dict[str, Any]:
    """The whole report, as ``--json`` prints it. Takes seconds: every backend is tried, with ``package`` on it too."""
    from ..machine.gpu import current_gpu
    from ..machine.host import describe, installed_libraries
    from ..names import __version__
    from .checks import Check, check_backends, check_engines, check_gpu, check_libraries, check_photos
    from .package import check_package

    gpu, libraries = current_gpu(), installed_libraries()
    backends = check_backends(gpu, libraries)
    checks = [*check_libraries(libraries, gpu), check_photos(libraries), *check_gpu(gpu, libraries), *backends]
    runs = [check.name for check in backends if check.verdict == "ok"]
    if not runs:
        checks.append(Check("backends", "none", "problem", "no backend runs here", "pip install onnxruntime"))
    if package is not None:
        engines = list(check_engines(package, gpu, {check.name.split()[0]: check.version for check in backends}))
        checks += [*check_package(package, backends, engines), *engines]
    problems = sum(check.verdict == "problem" for check in checks)
    found = "no problem" if not problems else f"{problems} problem{'s' if problems > 1 else ''}, each with a -> line"
    return {
        "ok": not problems,
        "summary": f"{found}; ok here: {', '.join(runs) or 'nothing'}",
        "version": __version__,
        "machine": describe(),
        "gpu": asdict(gpu) if gpu else None,
        "libraries": libraries,
        "checks": [asdict(check) for check in checks],
    }


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The report as a person reads it."""
    here = report["machine"]
    memory = f", {here['memory_mib']:,} MiB of memory" if here["memory_mib"] else ""
    facts = {
        "platform": here["platform"] + (" (Jetson)" if here["jetson"] else ""),
        "python": f"{here['python']} ({sys.executable})",
        "processor": f"{here['processor'] or 'unknown'}, {here['usable_cores']} usable core(s){memory}",
        "features": " ".join(here["features"]) or "not known here",
        "lacking": " ".join(here["features_missing"]),
        "libraries": ", ".join(f"{name} {version}" for name, version in report["libraries"].items()),
    }
    yield f"{ROOT} {report['version']}"
    yield from (f"  {name:<11}{fact}" for name, fact in facts.items() if fact)
    width = max(len(check["name"]) for check in report["checks"]) + 2
    for section, checks in groupby(report["checks"], lambda check: check["section"]):
        yield from ("", section)
        for check in checks:
            version = f"{check['version']}: " if check["version"] else ""
            yield f"  {_MARKS[check['verdict']]:<9}{check['name']:<{width}}{version}{check['detail']}"
            if check["fix"]:
                yield f"  {'':<9}  -> {check['fix']}"
    yield from ("", report["summary"])


if __name__ == "__main__":
    run_command(main)
