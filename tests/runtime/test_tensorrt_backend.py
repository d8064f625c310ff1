"""What the TensorRT backend decides, on a GPU that is none: stages are computed by onnxruntime (``fake_gpu.py``)."""

from __future__ import annotations

import gc
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from fake_gpu import PLAN, FakeGpu, FakeTensorRT

import runtime.backends
from export.profiles import Size, profile, size_range
from runtime import BackendUnavailableError, EngineError, Enhancer, InputError
from runtime.engine_cache import EngineCache, EngineKey
from runtime.gpu import Gpu
from runtime.package import Package

GPU = Gpu("NVIDIA Fake 1", "8.9", False, "12.8")
OURS = ("cuda", "trt_backend", "trt_engines", "trt_job", "trt_library", "trt_runtime_cache")


def forget_modules() -> None:
    for name in OURS:
        sys.modules.pop(f"runtime.backends.{name}", None)
        vars(runtime.backends).pop(name, None)


class Machine:
    """A GPU, both libraries, and the cuda-bindings for them."""

    def __init__(self) -> None:
        self.gpu = FakeGpu()
        self.trt, self.rtx = FakeTensorRT(self.gpu), FakeTensorRT(self.gpu, rtx=True)


@pytest.fixture
def machine(monkeypatch):
    found = Machine()
    forget_modules()
    monkeypatch.setattr("runtime.gpu.current_gpu", lambda: GPU)
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = found.gpu.cudart
    for name, module in {"cuda": ModuleType("cuda"), "cuda.bindings": bindings}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "tensorrt", found.trt)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", found.rtx)
    yield found
    gc.collect()
    assert found.gpu.nothing_left(), "something was never given back"
    forget_modules()


def build_engines(
    path: Path,
    *,
    target: str = "tensorrt",
    sizes: tuple[Size, ...] = (),
    max_size: Size | None = (128, 128),
    batch: int = 1,
    library: str = "99.1",
    gpu: str = f"{GPU.name}, {GPU.compute_capability}",
    flags: dict | None = None,
) -> None:
    package = Package.open(path)
    span = size_range(sizes, max_size, package.manifest.pad_multiple)
    for stage in package.manifest.stages:
        key = EngineKey(
            stage.name,
            package.manifest.files[stage.file][0],
            target,
            {"library": f"{target.replace('-', '_')} {library}", "gpu": gpu},
            profile(stage, span, batch),
            flags or {},
        )
        plan = PLAN + package.read(stage.file)
        EngineCache(path).store(key, {"engine.plan": plan}, {"command": f"python -m export.engine {path} --target x"})


@pytest.fixture
def package(tiny_package, tmp_path) -> Path:
    return shutil.copytree(tiny_package, tmp_path / "package")


def photo(height: int = 47, width: int = 65, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def reference(tiny_package):
    with Enhancer.open(tiny_package) as enhancer:
        yield enhancer


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_the_graph_gives_what_onnxruntime_gives_for_every_size_and_number_of_steps(machine, package, reference, target):
    build_engines(package, target=target)
    with Enhancer.open(package, backend=target) as enhancer:
        assert enhancer.backend.name == target
        for steps in (1, 4, 5):
            for size in ((47, 65), (64, 40), (47, 65)):
                for seed in (1, 2):
                    found = enhancer(photo(*size, seed), steps=steps, seed=seed)
                    np.testing.assert_array_equal(found, reference(photo(*size, seed), steps=steps, seed=seed))
        assert list(enhancer.timings) == ["pad", "upload", "graph", "download", "crop"]
        assert enhancer.step_timings == []


def test_a_sequence_runs_once_is_captured_once_and_launched_ever_after(machine, package):
    build_engines(package)
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        results = [enhancer(photo(), steps=4) for _ in range(5)]
        assert (machine.gpu.made["captures"], machine.gpu.made["launches"]) == (1, 4)
        assert machine.gpu.made["runs"] == 5 * 8
        assert machine.trt.contexts_made == 5  # one a stage, whatever the number of steps
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])
        enhancer(photo(), steps=2)
        enhancer(photo(96, 64), steps=2)
        assert machine.gpu.made["captures"] == 3
        made = machine.gpu.made["device"], machine.gpu.made["pinned"]
        for _ in range(3):
            enhancer(photo(), steps=4)
            enhancer(photo(96, 64), steps=2)
        assert (machine.gpu.made["device"], machine.gpu.made["pinned"]) == made
        assert machine.gpu.made["captures"] == 3


def test_a_dropped_shape_gives_its_memory_back(machine, package):
    build_engines(package)
    sizes = [(32, 32), (40, 32), (48, 32), (56, 32), (64, 32)]
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        used = []
        for _ in range(3):
            for size in sizes:
                enhancer(photo(*size), steps=1)
            used.append(machine.gpu.device_bytes())
        assert used[1] == used[2] <= used[0]
        assert len(machine.gpu.live["graph"]) == 2


def test_a_large_photos_memory_goes_with_it(machine, package):
    build_engines(package)
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        used = []
        for large in (False, True):
            if large:
                enhancer(photo(128, 128), steps=1)
            for size in ((16, 16), (24, 16), (16, 24)):
                enhancer(photo(*size), steps=1)
            used.append(machine.gpu.device_bytes())
        assert used[0] == used[1]


def test_scratch_memory_is_one_block_for_the_stages_and_one_for_the_hfrms(machine, package):
    build_engines(package)
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        enhancer(photo(), steps=2)
        (program,) = enhancer._programs.values()
        (job,) = program._jobs.values()
        blocks = {name: call.context.context.scratch for name, call, _ in job._work}
        assert blocks["dwt"] == blocks["denoiser"] == blocks["idwt"] != blocks["hfrm0"] == blocks["hfrm1"]
        enhancer(photo(), steps=1)  # another sequence of this shape shares them
        assert {name: call.context.context.scratch for name, call, _ in job._work} == blocks


def test_where_the_library_cannot_capture_the_parts_run_in_order_and_it_is_said(machine, package, reference):
    machine.rtx.capturable = False
    build_engines(package, target="tensorrt-rtx")
    with Enhancer.open(package, backend="tensorrt-rtx") as enhancer:
        for seed in (1, 2):
            np.testing.assert_array_equal(enhancer(photo(), steps=4, seed=seed), reference(photo(), steps=4, seed=seed))
        assert "cannot be captured" in enhancer.backend.why
        assert machine.gpu.made["captures"] == 0
        assert list(enhancer.timings) == [
            "pad", "upload", "dwt", "hfrm0", "hfrm1", "denoiser", "idwt", "download", "crop",
        ]  # fmt: skip
        assert enhancer.step_timings == [1.0] * 4


def test_a_call_outside_the_sequence_does_not_disturb_it(machine, package, reference):
    """The shape's context is shared: such a call leaves it with a scratch block of its own, gone with the call."""
    machine.trt.capturable = False
    build_engines(package)
    expected = reference(photo(), steps=2)
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        enhancer(photo(), steps=2)
        backend = enhancer.backend
        specs = enhancer.manifest.stage("hfrm0").tensors
        buffers = {name: backend.buffer(spec, spec.resolve(1, 48, 72)) for name, spec in specs.items()}
        backend.upload(buffers["details0"], np.zeros(buffers["details0"].shape, np.float32))
        backend._uploads.synchronize()
        call = backend.bind("hfrm0", buffers)
        call()
        backend._main.stream.synchronize()
        assert np.isfinite(backend.download(buffers["restored0"])).all()
        del call
        np.testing.assert_array_equal(enhancer(photo(), steps=2), expected)


def test_a_capture_that_fails_is_an_error_with_the_librarys_words(machine, package, reference):
    machine.trt.fails_in_capture = True
    build_engines(package)
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        with pytest.raises(EngineError, match=r"could not run dwt: operation not permitted when stream is capturing"):
            enhancer(photo(), steps=1)
        machine.trt.fails_in_capture = False
        np.testing.assert_array_equal(enhancer(photo(), steps=1), reference(photo(), steps=1))


def test_out_of_gpu_memory_names_the_cure_and_a_smaller_photo_still_works(machine, package):
    build_engines(package)
    machine.gpu.limit = 900_000
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        enhancer(photo(16, 16), steps=1)
        with pytest.raises(EngineError, match=r"cudaErrorMemoryAllocation.*smaller photo"):
            enhancer(photo(128, 128), steps=1)
        enhancer(photo(16, 16), steps=1)


def test_fp16_between_the_stages(machine, half_package, tmp_path):
    package = shutil.copytree(half_package("fp16"), tmp_path / "package")
    build_engines(package)
    with Enhancer.open(package) as plain:
        expected = plain(photo(), steps=2)
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        np.testing.assert_array_equal(enhancer(photo(), steps=2), expected)


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
        ({"gpu": "NVIDIA Other, 9.0"}, "built for NVIDIA Other, 9.0; here is NVIDIA Fake 1, 8.9"),
        ({"flags": {"stripped": True}}, "built with --stripped"),
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


def test_rtx_keeps_what_it_compiled_beside_the_engine_and_trusts_only_its_own(machine, package, caplog):
    build_engines(package, target="tensorrt-rtx")

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
    assert len(run()) == 1
    assert len(run()) == 5  # made again by the run before
    assert not files[3].is_symlink()
    assert not list(package.glob("engines/*/.runtime*"))


def test_what_is_missing_is_named_with_its_cure(tiny_package, monkeypatch):
    forget_modules()
    monkeypatch.setattr("runtime.gpu.current_gpu", lambda: None)
    with pytest.raises(BackendUnavailableError, match=r"needs an NVIDIA GPU.*nvidia-smi"):
        Enhancer.open(tiny_package, backend="tensorrt")
    monkeypatch.setattr("runtime.gpu.is_jetson", lambda: True)
    forget_modules()
    with pytest.raises(BackendUnavailableError, match=r"needs an NVIDIA GPU.*JetPack"):
        Enhancer.open(tiny_package, backend="tensorrt")
    monkeypatch.setattr("runtime.gpu.current_gpu", lambda: GPU)
    forget_modules()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendUnavailableError, match=r"apt install python3-libnvinfer.*system-site-packages"):
        Enhancer.open(tiny_package, backend="tensorrt")
    monkeypatch.setattr("runtime.gpu.is_jetson", lambda: False)
    forget_modules()
    with pytest.raises(BackendUnavailableError, match=r"`pip install tensorrt`"):
        Enhancer.open(tiny_package, backend="tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT(FakeGpu()))
    monkeypatch.setitem(sys.modules, "cuda", None)
    with pytest.raises(BackendUnavailableError, match=r"`pip install 'cuda-bindings==12\.\*'`"):
        Enhancer.open(tiny_package, backend="tensorrt")
    with pytest.raises(InputError, match="no providers"):
        Enhancer.open(tiny_package, backend="tensorrt", providers=["CUDA"])
    forget_modules()


def test_auto_takes_a_gpu_that_has_engines_and_leaves_out_one_that_has_none(machine, package):
    machine.gpu.limit = 1 << 32
    with Enhancer.open(package, backend="auto") as enhancer:
        assert "not usable: tensorrt, tensorrt-rtx" in enhancer.backend.why
    build_engines(package, max_size=(256, 256))
    with Enhancer.open(package, backend="auto") as enhancer:
        assert "tensorrt " in enhancer.backend.why
        assert "not usable: tensorrt-rtx" in enhancer.backend.why


def test_a_stream_equals_single_calls(machine, package, reference):
    build_engines(package)
    frames = [photo(seed=seed) for seed in range(6)]
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        found = list(enhancer.stream(frames, steps=4, seed=1))
        assert machine.gpu.made["captures"] == 2  # each of the two programs
        stream = enhancer.stream(frames, steps=4)
        next(stream)
        stream.close()
    for frame, result in zip(frames, found, strict=True):
        np.testing.assert_array_equal(result, reference(frame, steps=4, seed=1))


def test_the_real_libraries_words_reach_the_error(tiny_package, monkeypatch):
    """TensorRT-RTX itself, on a machine without a GPU: it cannot load an engine there, and says why."""
    pytest.importorskip("tensorrt_rtx")
    from runtime.gpu import current_gpu

    if current_gpu() is not None:
        pytest.skip("a GPU is here: it would load")
    forget_modules()
    monkeypatch.setattr("runtime.gpu.current_gpu", lambda: GPU)
    from runtime.backends.trt_library import Library

    library = Library("tensorrt-rtx")
    engine = library.trt.Runtime(library.log).deserialize_cuda_engine(b"no engine at all" * 100)
    assert engine is None
    error = library.failure("cannot load it", "Build it again.")
    assert "tensorrt_rtx 1." in str(error)
    assert "Error Code" in str(error)
    assert not library.log.errors
    forget_modules()
