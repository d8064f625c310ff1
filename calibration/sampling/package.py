"""The package with the sampling: the given one's graphs, and what says how the sampling was found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.names import FAST
from runtime.package.certificate import read_certificate
from runtime.package.manifest import CERTIFICATE
from runtime.package.reading import Package
from runtime.package.sampling import Sampling
from runtime.package.writing import write_manifest

TABLE, PLOT, SHEET = "sampling.md", "sampling.png", "sampling-sheet.jpg"
_PYTORCH = (
    "not asked; `python -m export.build CHECKPOINT --samplings DIR`, with this package as DIR, builds one whose "
    "certificate compares it with PyTorch"
)


def write(work: Path, package: Package, fast: Sampling, files: Mapping[str, bytes]) -> None:
    """Into the empty folder ``work``. files: name -> content, in place of the package's of that name or beside them.

    Engines are not copied: they are found by the graphs, and are the same. Raises PackageError.
    """
    manifest = package.manifest
    graphs = {stage.file: stage.name for stage in manifest.stages}
    kept = [name for name in manifest.files if name not in files]
    for name in kept:
        (work / name).write_bytes(package.graph(graphs[name]) if name in graphs else package.read(name))
    (work / CERTIFICATE).write_bytes(_certificate(package, fast))
    for name, content in files.items():
        (work / name).write_bytes(content)
    others = tuple(one for one in manifest.more_samplings if one.name != FAST)
    write_manifest(work, replace(manifest, more_samplings=(*others, fast)), [*kept, *files])


def _certificate(package: Package, fast: Sampling) -> bytes:
    """The package's, without what it says of another ``fast``, and with a row of what this one was compared with."""
    content = read_certificate(package)

    def without_fast(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row for row in rows if row.get("sampling") != FAST]

    if "end_to_end" in content:
        content["end_to_end"] = without_fast(content["end_to_end"])
    judged = fast.judged
    row = {
        "sampling": FAST,
        "compared_with": "reference photos" if judged["references"] else "the published pictures of the same package",
        "pytorch": _PYTORCH,
        "engine": "onnxruntime CPUExecutionProvider",
        "photos": judged["photos"]["judging"],
        "calls": fast.calls,
        **{name: judged[name] for name in ("published", "fast")},
    }
    content["samplings"] = [*without_fast(content.get("samplings", [])), row]
    return (json.dumps(content, indent=1) + "\n").encode()
