"""docs/package.md: a reader written from it alone makes the runtime's picture, and it names every key that there is."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import independent_reader
import numpy as np
from page_checks import ROOT

from runtime import Enhancer, enhancer
from runtime.package.certificate import read_certificate
from runtime.package.reading import Package

PAGE = (ROOT / "docs/package.md").read_text()


def photos(dtype: str, count: int = 2) -> np.ndarray:
    noise = np.random.default_rng(3).random((count, 45, 70, 3)) * np.linspace(0.05, 0.4, 70)[:, None]
    return (noise * np.iinfo(dtype).max).astype(dtype)


def compare(package: Path, loops: dict[str, dict[str, object]]) -> None:
    reader = independent_reader.Reader(package)
    with Enhancer.open(package, backend="onnxruntime") as ours:
        for name, options in loops.items():
            steps = options.get("steps")
            loop = reader.steps(steps, options["sampler"]) if steps else reader.sampling(options["sampling"])
            for dtype, level in (("uint8", 1), ("uint16", 257)):
                found, expected = reader.run(photos(dtype), loop), ours(photos(dtype), **options)
                assert found.dtype == expected.dtype
                assert found.shape == expected.shape
                assert np.abs(found.astype(int) - expected).max() <= level, (name, dtype)
            if loop[0] == "normal":  # noise of its own for each photo of a batch
                noise = np.stack([reader.noise(45, 70, seed) for seed in (5, 6)])
                found, expected = (
                    reader.run(photos("uint8"), loop, noise),
                    ours(photos("uint8"), noise=noise, **options),
                )
                assert np.abs(found.astype(int) - expected).max() <= 1, name


def test_the_tiny_package(tiny_package):
    loops = {f"{sampler} {n}": {"steps": n, "sampler": sampler} for sampler, n in (("ddim", 5), ("dpmpp-2m", 7))}
    compare(tiny_package, {"published": {"sampling": "published"}, **loops})
    reader = independent_reader.Reader(tiny_package)
    tiny = np.full((1, 1, 3, 3), 40, np.uint8)  # smaller than the padding
    with Enhancer.open(tiny_package) as ours:
        assert np.abs(reader.run(tiny, reader.sampling("published")).astype(int) - ours(tiny)).max() <= 1


def test_the_bundled_package(bundled_package):
    compare(bundled_package, {"fast": {"sampling": "fast"}, "dpmpp-2m": {"steps": 4, "sampler": "dpmpp-2m"}})


def test_half_precision(half_package):
    reader = independent_reader.Reader(half_package("fp16"))
    worst, allowed = reader.self_test()
    assert worst <= allowed == 4


def test_the_self_test_is_a_command(tiny_package):
    words = [sys.executable, independent_reader.__file__, str(tiny_package)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"largest difference from golden.npz: [01] grey levels, 1 allowed\n", done.stdout)


def test_another_step_is_another_picture(bundled_package):
    """The comparison can fail: a coefficient of the page's formula changed shows in the picture."""
    reader = independent_reader.Reader(bundled_package)
    start, times, table = reader.sampling("fast")
    right, wrong = (reader.run(photos("uint8", 1), (start, times, rows)) for rows in (table, table * 1.05))
    assert np.abs(right.astype(int) - wrong).max() > 1


def test_the_reader_takes_nothing_of_ours():
    source = Path(independent_reader.__file__).read_text()
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in (
            [one.name for one in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "")]
        )
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported <= sys.stdlib_module_names | {"numpy", "onnxruntime"}
    lines = len(source.splitlines())
    assert lines <= 120
    assert f"in {lines} lines" in PAGE


def keys(value: object) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(keys, value))
    return set(value).union(*map(keys, value.values())) if isinstance(value, dict) else set()


def test_the_page_names_every_key(bundled_package):
    """Of the manifest and of the certificate, but for names of stages, tensors, files and samplings."""
    package = Package.open(bundled_package)
    text = json.loads((bundled_package / "manifest.json").read_bytes())
    names = {stage.name for stage in package.manifest.stages} | set(package.manifest.files)
    names |= {name for stage in package.manifest.stages for name in stage.tensors}
    for sampling in text["samplings"].values():
        sampling["judged"] = None
    text["provenance"] = None
    found = (keys(text) | keys(read_certificate(package))) - names - {"fast"}
    assert [key for key in sorted(found) if f"`{key}`" not in PAGE] == []


def test_the_self_test_s_tolerances_are_the_runtime_s():
    (told,) = re.findall(r"than (\d+) grey level \(fp32\), (\d+) \(fp16\), (\d+) \(bf16\) or (\d+) \(int8\)", PAGE)
    assert dict(zip(("fp32", "fp16", "bf16", "int8"), map(int, told), strict=True)) == enhancer._GREY_LEVELS
    assert independent_reader.TOLERANCES == enhancer._GREY_LEVELS
