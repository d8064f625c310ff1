"""What the doctor makes of a package: its files, and its golden sample on every backend that runs here."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from ..cli.command import ROOT
from ..errors import PackageError, one_line
from ..package.reading import Package
from .checks import Check
from .child import run_probe

_SELF_TEST_S = 180.0  # generous: opening compiles on some devices
_NEED_NO_ENGINES = ("onnxruntime", "openvino")


def check_package(package: Package, backends: Iterable[Check], engines: Iterable[Check]) -> Iterator[Check]:
    """Every file against its hash, every graph by the guard; then the self-test on each of ``backends`` that is ok, in
    a process of its own with a limit of time. engines: of the package; a backend that needs some and has none is not
    tried."""
    damaged = list(_damaged(package))
    if damaged:
        yield from damaged
        return
    yield Check("package", "files", "ok", f"{len(package.manifest.files)} files have the manifest's hashes")
    built = {check.name.split()[-1] for check in engines if check.verdict == "ok"}
    for backend in backends:
        name, _, provider = backend.name.partition(" ")
        if backend.verdict != "ok":
            continue
        label = f"self-test {backend.name}"
        if name not in _NEED_NO_ENGINES and name not in built:
            yield Check("package", label, "absent", "not run: the package has no engines for it that fit here")
            continue
        options = ["--self-test", "--backend", name, *(["--provider", provider] if provider else [])]
        found = run_probe("self_test", str(package.path), *options, timeout_s=_SELF_TEST_S)
        if "error" in found:
            again = shlex.join(["python", "-m", ROOT, str(package.path), *options])
            yield Check("package", label, "problem", found["error"], again, backend.version)
        elif "refused" in found:
            yield Check("package", label, "absent", found["refused"], version=backend.version)
        else:
            yield Check("package", label, "ok", found["said"], version=backend.version)


def _damaged(package: Package) -> Iterator[Check]:
    manifest, path = package.manifest, shlex.quote(str(package.path))
    make = f"export.build CHECKPOINT --precision {manifest.precision}"
    if manifest.precision == "int8":
        make = "calibration FP32_PACKAGE PHOTO..."
    fix = f"python -m {make} -o {path} --overwrite"
    stages = {stage.file: stage.name for stage in manifest.stages}
    for name in manifest.files:
        try:
            if name in stages:
                package.graph(stages[name])
            else:
                package.read(name)
        except PackageError as error:
            yield Check("package", name, "problem", one_line(error), fix)
