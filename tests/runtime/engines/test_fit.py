"""Which engines fit: the same answer for every target, for the backends and for the doctor."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from runtime.engines.cache import EngineCache, EngineKey
from runtime.engines.entry import Engine
from runtime.engines.fit import REWRITE_VERSION, GpuScope, Machine, environment, misfit, needed, usable
from runtime.errors import EngineError
from runtime.machine.gpu import Gpu
from runtime.names import TARGETS
from runtime.package.manifest import Manifest, Stage
from runtime.package.reading import Package

GPU = Gpu("NVIDIA L4", "8.9", False, "13.0")
HERE = Machine(dict.fromkeys(TARGETS, "2.0"), GPU)
OF_GPUS = ("tensorrt", "tensorrt-rtx")


@pytest.fixture
def package(tmp_path) -> Package:
    stage = Stage("hfrm0", "hfrm0.onnx", (), ())
    files = {stage.file: ("a" * 64, 1)}
    return Package(tmp_path, Manifest("fp32", 1, 2, 1, 1, (0.0,), (1.0,), (stage,), {}, files, {}))


def key(target: str, scope: GpuScope | None = None) -> EngineKey:
    if scope is None and target in OF_GPUS:
        scope = GpuScope("device", GPU.name, (GPU.compute_capability,))
    built = environment(target, "2.0") | ({"gpu": asdict(scope)} if scope else {})
    rewrite = {"rewrite": REWRITE_VERSION[target]} if target in REWRITE_VERSION else {}
    return EngineKey("hfrm0", "a" * 64, target, built, {}, rewrite)


def store(package: Package, one: EngineKey) -> Engine:
    return EngineCache(package.path).store(one, {"engine": b"x"}, {})


CHANGES = {
    "version": (
        lambda one: replace(one, environment=environment(one.target, "1.0")),
        r"built with .* 1\.0, installed is 2\.0",
    ),
    "platform": (
        lambda one: replace(one, environment=dict(one.environment) | {"platform": "windows arm64"}),
        "built for the platform windows arm64, here it is ",
    ),
    "graph": (lambda one: replace(one, graph_sha256="b" * 64), "built from another graph than the package's"),
    "rewrite": (lambda one: replace(one, flags={"rewrite": -1}), "another version of this project compiled it"),
    "environment": (lambda one: replace(one, environment={}), "built with None, installed is 2.0"),
    "gpu": (
        lambda one: key(one.target, GpuScope("device", "NVIDIA H100", ("9.0",))),
        "built for NVIDIA H100, 9.0; here is NVIDIA L4, 8.9",
    ),
    "gpu in words": (
        lambda one: replace(one, environment=dict(one.environment) | {"gpu": "NVIDIA L4, 8.9"}),
        "it does not say which GPUs it was built for",
    ),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("change", CHANGES)
def test_an_engine_of_something_else_is_refused_with_the_reason(package, target, change):
    fits = store(package, key(target))
    assert usable(package, "hfrm0", target, HERE) == ([fits], [])
    other, reason = CHANGES[change]
    stale = store(package, other(key(target)))
    engines, refused = usable(package, "hfrm0", target, HERE)
    assert [engine.path for engine in engines] == [fits.path]
    (line,) = refused
    assert line.startswith(f"{stale.path.name}: ")
    assert re.search(reason, line)


@pytest.mark.parametrize("target", TARGETS)
def test_an_edited_entry_is_refused(package, target):
    engine = store(package, key(target))
    document = engine.path / "engine.json"
    content = json.loads(document.read_text())
    content["key"]["profile"] = {"details0": [[1, 9, 8, 8]] * 3}
    document.write_text(json.dumps(content))
    engines, (refused,) = usable(package, "hfrm0", target, HERE)
    assert not engines
    assert refused == f"{engine.path.name}: its engine.json was changed after the build"


def test_what_else_a_backend_asks_for_has_to_be_the_same(package):
    one = key("openvino")
    amx = replace(one, environment=dict(one.environment) | {"processor": "AMX"})
    engine = store(package, amx)
    assert misfit(engine, package, HERE) == ""  # the doctor, which does not ask OpenVINO for its processor
    assert misfit(engine, package, replace(HERE, environment={"processor": "AMX"})) == ""
    other = replace(HERE, environment={"processor": "AVX2"})
    assert misfit(engine, package, other) == "built for the processor AMX, here it is AVX2"


def test_newest_first_and_an_error_with_the_reasons_and_the_command(package):
    older = store(package, key("tensorrt", GpuScope("ampere_plus")))
    newer = store(package, key("tensorrt"))
    os.utime(older.path / "engine.json", (1, 1))
    assert [engine.path for engine in needed(package, "hfrm0", "tensorrt", HERE)] == [newer.path, older.path]
    with pytest.raises(EngineError) as error:
        needed(package, "hfrm0", "tensorrt", Machine({}, GPU))
    message = str(error.value)
    assert f"{package.path}: no tensorrt engine of hfrm0 for this machine ({newer.path.name}: built with " in message
    assert "tensorrt does not load here" in message
    assert message.endswith(f"build it: `python -m export.engine {package.path} --target tensorrt`.")


def test_an_entry_that_goes_while_the_cache_is_read_is_left_out(package, monkeypatch):
    """A builder renames the old entry away before the new one takes its name."""
    kept, going = store(package, key("ncnn")), store(package, replace(key("ncnn"), profile={"x": [[1]] * 3}))
    stat = Path.stat

    def gone(path: Path, **options):
        found = stat(path, **options)
        if path.name == "engine.json" and going.path.exists() and path.parent == going.path:
            shutil.rmtree(going.path)
        return found

    monkeypatch.setattr(Path, "stat", gone)
    assert [engine.path for engine in EngineCache(package.path).entries()] == [kept.path]
    going = store(package, replace(key("ncnn"), profile={"x": [[1]] * 3}))
    monkeypatch.setattr(Path, "stat", lambda path, **options: stat(gone_first(path), **options))

    def gone_first(path: Path) -> Path:
        if path.name == "engine.json" and path.parent == going.path:
            shutil.rmtree(going.path)
        return path

    assert [engine.path for engine in EngineCache(package.path).entries()] == [kept.path]
