"""Which engines the TensorRT backend takes, which it refuses, and what it says (``fake_tensorrt.py``)."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from fake_gpu import FakeGpu
from fake_tensorrt import PLAN, FakeTensorRT
from tensorrt_machine import GPU, build_engines, forget_modules, photo

from runtime import BackendUnavailableError, EngineError, Enhancer, InputError
from runtime.engines.cache import EngineCache, EngineKey
from runtime.engines.fit import GpuScope
from runtime.package.reading import Package


@pytest.fixture
def package(tiny_package, tmp_path) -> Path:
    return shutil.copytree(tiny_package, tmp_path / "package")


def test_a_photo_that_no_engine_covers_is_refused_with_the_sizes_and_the_command(machine, package):
    build_engines(package, sizes=((64, 48),), max_size=None)
    build_engines(package, max_size=(96, 64), batch=2)
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        with pytest.raises(InputError) as error:
            enhancer(photo(100, 50), steps=1)
        message = str(error.value)
        assert "takes a batch of 1 photo(s) of 56x104 (padded)" in message
        assert "8x8 to 96x64, batch up to 2" in message
        assert "64x48" in message
        assert f"`python -m export.engine {package} --target tensorrt --max-size 56x104`" in message
        with pytest.raises(InputError, match=r"--max-size 64x48 --batch 3`"):
            enhancer(np.stack([photo(48, 64)] * 3), steps=1)
        enhancer(np.stack([photo(48, 64)] * 2), steps=1)


def test_the_engine_with_the_smallest_range_is_taken(machine, package):
    build_engines(package, sizes=((64, 48),), max_size=None)
    build_engines(package, max_size=(96, 64))
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        engines = enhancer.backend._engines
        stage = enhancer.manifest.stage("dwt")
        exact = engines._choose(stage, {"image": (1, 3, 48, 64)}).key["profile"]["image"]
        assert exact[0] == exact[2] == [1, 3, 48, 64]
        assert engines._choose(stage, {"image": (1, 3, 40, 64)}).key["profile"]["image"][2] == [1, 3, 64, 96]


@pytest.mark.parametrize(
    ("built", "reason"),
    [
        ({"library": "10.3.0"}, "built with tensorrt 10.3.0, installed is 99.1"),
        (
            {"gpu": GpuScope("device", "NVIDIA Other", ("9.0",))},
            "built for NVIDIA Other, 9.0; here is NVIDIA Fake 1, 8.9",
        ),
        ({"flags": {"rewrite": 9}}, "another version of this project compiled it"),
        ({"target": "tensorrt-rtx"}, "for this machine; build it"),
    ],
)
def test_engines_of_another_machine_are_not_taken(machine, package, built, reason):
    build_engines(package, **built)
    with pytest.raises(EngineError) as error:
        Enhancer.open(package, backend="tensorrt")
    assert reason in str(error.value)
    assert "no tensorrt engine of dwt for this machine" in str(error.value)
    assert f"`python -m export.engine {package} --target tensorrt`" in str(error.value)


def test_a_damaged_a_foreign_and_a_renamed_engine_are_refused(machine, package):
    build_engines(package)
    entries = {entry.key["stage"]: entry.path for entry in EngineCache(package).entries()}
    plan = entries["idwt"] / "engine.plan"
    good = plan.read_bytes()
    plan.write_bytes(good[:-1])
    with pytest.raises(EngineError, match=r"engine.plan: .*truncated.*Build it again: `python -m export.engine"):
        Enhancer.open(package, backend="tensorrt")
    plan.write_bytes(good)
    document = entries["idwt"] / "engine.json"
    content = json.loads(document.read_text())
    content["key"]["profile"]["x_0"][2] = [1, 3, 999, 999]
    document.write_text(json.dumps(content))
    with pytest.raises(EngineError, match=r"engine.json was changed"):
        Enhancer.open(package, backend="tensorrt")


def test_an_engine_that_the_library_refuses_and_one_of_another_stage(machine, package):
    build_engines(package)
    cache, manifest = EngineCache(package), Package.open(package).manifest

    def replace(stage: str, plan: bytes) -> None:
        entry = next(entry for entry in cache.entries() if entry.key["stage"] == stage)
        cache.store(EngineKey(**entry.key), {"engine.plan": plan}, {"command": "python -m export.engine x --target y"})

    replace("hfrm1", b"nothing of this library")
    with pytest.raises(EngineError, match=r"tensorrt 99.1 cannot load .*magic tag does not match\. Build it again: "):
        Enhancer.open(package, backend="tensorrt")
    replace("hfrm1", PLAN + (package / manifest.stage("hfrm0").file).read_bytes())
    with pytest.raises(EngineError, match=r"its tensor details0 is \('FLOAT', 'DEVICE'\).*none of that name.*foreign"):
        Enhancer.open(package, backend="tensorrt")


def test_rtx_keeps_what_it_compiled_beside_the_engine_and_trusts_only_its_own(machine, package, monkeypatch):
    build_engines(package, target="tensorrt-rtx")
    told: list[str] = []
    monkeypatch.setattr(logging.Logger, "warning", lambda _, text, *words: told.append(text % words))

    def run() -> list[bytes]:
        machine.rtx.compiled.clear()
        with Enhancer.open(package, backend="tensorrt-rtx") as enhancer:
            enhancer(photo(), steps=1)
        return machine.rtx.compiled

    assert run() == []
    files = sorted(package.glob("engines/*/runtime.cache"))
    assert len(files) == 5
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert run() == [b"kernel;"] * 5
    content = files[0].read_bytes()
    files[0].write_bytes(files[0].read_bytes() + b"more")  # damaged
    files[1].write_bytes(content)  # another engine's
    files[2].chmod(0o666)  # others can write it
    kept = files[3].rename(files[3].with_name("elsewhere"))
    files[3].symlink_to(kept)
    plan = json.loads((files[4].parent / "engine.json").read_text())["files"]["engine.plan"]["sha256"]
    files[4].write_bytes(sha256(plan.encode() + b"kernel;").digest() + b"kernel;")  # as anybody can seal it
    assert run() == []
    said = "\n".join(told)
    assert said.count("runtime.cache: damaged, foreign or of an older version: not signed by this user's key") == 3
    assert "runtime.cache: others can write to it" in said
    assert "runtime.cache: cannot be read (a symbolic link)" in said
    assert len(run()) == 5  # made again by the run before
    assert not files[3].is_symlink()
    files[0].unlink()
    os.mkfifo(files[0])
    assert len(run()) == 4
    assert "runtime.cache: cannot be read (no regular file)" in told[-1]
    assert not list(package.glob("engines/*/.runtime*"))


def test_what_is_missing_is_named_with_its_cure(tiny_package, monkeypatch):
    forget_modules()
    monkeypatch.setattr("runtime.machine.gpu.current_gpu", lambda: None)
    with pytest.raises(BackendUnavailableError, match=r"needs an NVIDIA GPU.*nvidia-smi"):
        Enhancer.open(tiny_package, backend="tensorrt")
    monkeypatch.setattr("runtime.machine.gpu.is_jetson", lambda: True)
    forget_modules()
    with pytest.raises(BackendUnavailableError, match=r"needs an NVIDIA GPU.*JetPack"):
        Enhancer.open(tiny_package, backend="tensorrt")
    monkeypatch.setattr("runtime.machine.gpu.current_gpu", lambda: GPU)
    forget_modules()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendUnavailableError, match=r"apt install python3-libnvinfer.*system-site-packages"):
        Enhancer.open(tiny_package, backend="tensorrt")
    monkeypatch.setattr("runtime.machine.gpu.is_jetson", lambda: False)
    forget_modules()
    with pytest.raises(BackendUnavailableError, match=r"`pip install tensorrt-cu12`"):
        Enhancer.open(tiny_package, backend="tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT(FakeGpu()))
    monkeypatch.setitem(sys.modules, "cuda", None)
    with pytest.raises(BackendUnavailableError, match=r"`pip install 'cuda-bindings==12\.\*'`"):
        Enhancer.open(tiny_package, backend="tensorrt")
    with pytest.raises(InputError, match="no providers"):
        Enhancer.open(tiny_package, backend="tensorrt", providers=["CUDA"])
    forget_modules()


def test_the_real_libraries_words_reach_the_error(tiny_package, monkeypatch):
    """TensorRT-RTX itself, on a machine without a GPU: it cannot load an engine there, and says why."""
    pytest.importorskip("tensorrt_rtx")
    from runtime.machine.gpu import current_gpu

    if current_gpu() is not None:
        pytest.skip("a GPU is here: it would load")
    forget_modules()
    monkeypatch.setattr("runtime.machine.gpu.current_gpu", lambda: GPU)
    from runtime.backends.tensorrt.library import Library

    library = Library("tensorrt-rtx")
    engine = library.trt.Runtime(library.log).deserialize_cuda_engine(b"no engine at all" * 100)
    assert engine is None
    error = library.failure("cannot load it", "Build it again.")
    assert "tensorrt_rtx 1." in str(error)
    assert "Error Code" in str(error)
    assert not library.log.errors
    forget_modules()
