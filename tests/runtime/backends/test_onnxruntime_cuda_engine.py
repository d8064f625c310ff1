"""Engines of the target ``cuda``: built, found and used by the backend onnxruntime. Its CPU provider stands in the
CUDA provider's place: it has the same operators in float32."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from export.builders.cuda import CudaBuilder
from export.engine import main
from runtime import BackendUnavailableError, EngineError, Enhancer, InputError, PackageError
from runtime.backends.base import PLAIN
from runtime.backends.onnxruntime import session as onnxruntime_
from runtime.doctor.checks import check_engines
from runtime.engines.cache import GRAPH, EngineCache, EngineKey
from runtime.engines.entry import Engine
from runtime.machine.gpu import Gpu
from runtime.package.reading import Package

L4 = Gpu("NVIDIA L4", "8.9", False, "13.0")


@pytest.fixture
def captured(monkeypatch):
    monkeypatch.setattr(onnxruntime_, "CAPTURES", {"CPUExecutionProvider": {}})


@pytest.fixture(scope="module")
def built(tiny_package, once) -> Path:
    """The small network's package with engines of the target cuda. Copy it before changing it."""

    def make(path: Path) -> None:
        shutil.copytree(tiny_package, path)
        assert main([str(path), "--target", "cuda"]) == 0

    return once("tiny-cuda", make)


@pytest.fixture
def half(half_package) -> Path:
    """The small network's fp16 package. Ask for it before ``captured``: a build runs its photos as users do."""
    return half_package("fp16")


@pytest.fixture
def package(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "package"))


@pytest.fixture
def opened(monkeypatch) -> list[bytes]:
    """The graphs that sessions were opened with."""
    found: list[bytes] = []
    real = ort.InferenceSession

    def session(graph: bytes, *arguments: object, **named: object) -> ort.InferenceSession:
        found.append(graph)
        return real(graph, *arguments, **named)

    monkeypatch.setattr(onnxruntime_.ort, "InferenceSession", session)
    return found


def engine_of(path: Path) -> Engine:
    (engine,) = EngineCache(path).entries("denoiser", "cuda")
    return engine


def stored(path: Path, change: Callable[[onnx.ModelProto], object]) -> None:
    """Another engine in the place of the one that is there, its hash right."""
    engine = engine_of(path)
    model = onnx.load_from_string(engine.read(GRAPH))
    change(model)
    EngineCache(path).store(EngineKey(**engine.key), {GRAPH: model.SerializeToString()}, {})


def photo(height: int = 47, width: int = 65) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 60, (height, width, 3), dtype=np.uint8)


def test_the_command_builds_once_and_only_the_denoiser_has_a_graph(package, capsys):
    files = {engine.key["stage"]: list(engine.files) for engine in EngineCache(package).entries(target="cuda")}
    assert files == {"dwt": [], "hfrm0": [], "hfrm1": [], "denoiser": [GRAPH], "idwt": []}
    engine = engine_of(package)
    assert engine.key["environment"]["library"] == f"onnxruntime {ort.__version__}"
    assert engine.key["profile"] == {}
    assert main([str(package), "--target", "cuda", "--size", "64x64"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "0 of 5 engines built, 5 were there"


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_package_that_it_does_not_take_is_refused(precision):
    with pytest.raises(InputError, match=f"--target cuda takes fp32 and fp16 packages, and this one is {precision}; "):
        CudaBuilder(precision)


@pytest.mark.parametrize("words", [[], ["--no-tf32"]])
def test_without_tf32_every_stage_s_session_is_told_so(tiny_package, tmp_path, captured, monkeypatch, words):
    path = Path(shutil.copytree(tiny_package, tmp_path / "package"))
    assert main([str(path), "--target", "cuda", *words]) == 0
    asked: list[dict[str, str]] = []
    real = ort.InferenceSession

    def session(graph: bytes, *arguments: object, providers: list[object], **named: object) -> ort.InferenceSession:
        asked.extend(one[1] for one in providers if isinstance(one, tuple))
        return real(graph, *arguments, providers=["CPUExecutionProvider"], **named)

    monkeypatch.setattr(onnxruntime_.ort, "InferenceSession", session)
    with Enhancer.open(path, backend="onnxruntime") as enhancer:
        enhancer(photo(), steps=1)
        assert len(asked) >= len(enhancer.manifest.stages)
    assert {told.get("use_tf32", "1") for told in asked} == {"0" if words else "1"}


def test_without_onnxruntime_the_command_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailableError, match=r"onnxruntime.*--target cuda"):
        CudaBuilder("fp32")


def test_the_engine_is_used_and_gives_the_same_picture(package, tiny_package, captured, opened):
    graph = engine_of(package).read(GRAPH)
    with Enhancer.open(package, backend="onnxruntime") as enhancer:
        found = [enhancer(photo(*size), steps=4) for size in ((33, 1), (47, 65))]
        assert enhancer.backend.why == ""
    assert opened.count(graph) == 2
    assert Package.open(package).graph("denoiser") not in opened
    with Enhancer.open(tiny_package, backend="onnxruntime") as enhancer:
        for size, one in zip(((33, 1), (47, 65)), found, strict=True):
            assert np.abs(one.astype(int) - enhancer(photo(*size), steps=4)).max() <= 1
        assert "--target cuda` builds one" in enhancer.backend.why


def test_of_half_precision_too(half, captured, tmp_path):
    path = Path(shutil.copytree(half, tmp_path / "package"))
    with Enhancer.open(path, backend="onnxruntime") as enhancer:
        expected = enhancer(photo(), steps=4)
    main([str(path), "--target", "cuda"])
    with Enhancer.open(path, backend="onnxruntime") as enhancer:
        assert enhancer.backend.why == ""
        assert np.abs(enhancer(photo(), steps=4).astype(int) - expected).max() <= 1


def test_forms_of_a_packages_attention_are_not_its(package, captured, opened):
    """It has no blocks of queries and no key stride: whoever asks for them gets all of the keys."""
    from runtime.names import LOOP

    with Enhancer.open(package, backend="onnxruntime") as enhancer:
        backend, spec = enhancer.backend, enhancer.manifest.stage(LOOP)
        shapes = [tensor.resolve(1, 64, 64) for tensor in spec.tensors.values()]
        tensors = {
            name: backend.buffer(tensor, shape)
            for (name, tensor), shape in zip(spec.tensors.items(), shapes, strict=True)
        }
        backend.bind(LOOP, tensors, form=replace(PLAIN, key_stride=2, whole_scores=True))()
    assert opened[-1] == engine_of(package).read(GRAPH)


def test_without_the_provider_no_engine_is_looked_for(package, opened):
    with Enhancer.open(package, backend="onnxruntime") as enhancer:
        assert enhancer.backend.why == ""
    assert engine_of(package).read(GRAPH) not in opened


def test_an_engine_of_another_onnxruntime_is_not_used_and_why_says_so(package, captured, opened, monkeypatch):
    graph = engine_of(package).read(GRAPH)
    monkeypatch.setattr(onnxruntime_.ort, "__version__", "1.99.0")
    with Enhancer.open(package, backend="onnxruntime") as enhancer:
        enhancer(photo(), steps=1)
        why = enhancer.backend.why
    assert f"built with onnxruntime {engine_of(package).key['environment']['library'].split()[1]}" in why
    assert why.endswith(f"`python -m export.engine {package} --target cuda` builds one")
    assert graph not in opened


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(one_attention(model), "op_type", "FusedMatMul"),
        lambda model: setattr(one_attention(model), "domain", "com.evil"),
        lambda model: setattr(model.graph.node[0], "domain", "com.microsoft"),
        lambda model: model.opset_import.add(domain="com.evil", version=1),
        lambda model: model.functions.add(name="MultiHeadAttention", domain="com.microsoft"),
    ],
    ids=["another operator", "another domain", "a node of ours", "an import", "a function"],
)
def test_a_foreign_engine_is_refused(package, captured, change):
    stored(package, change)
    with (
        Enhancer.open(package, backend="onnxruntime") as enhancer,
        pytest.raises(PackageError, match=r"engine\.onnx: it uses the operator domain b'com\.(microsoft|evil)'"),
    ):
        enhancer(photo(), steps=1)


def one_attention(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == "MultiHeadAttention")


def test_a_damaged_engine_is_an_error_with_the_command(package, captured):
    (engine_of(package).path / GRAPH).write_bytes(b"x")
    with (
        Enhancer.open(package, backend="onnxruntime") as enhancer,
        pytest.raises(EngineError, match=r"--target cuda --rebuild"),
    ):
        enhancer(photo(), steps=1)


def test_a_package_may_not_hold_what_an_engine_may(package):
    from runtime.package.guard import check_graph

    with pytest.raises(PackageError, match=r"b'com\.microsoft'"):
        check_graph(engine_of(package).read(GRAPH), "denoiser.onnx")


def test_the_doctor_lists_it(package):
    opened = Package.open(package)
    here, other = {"onnxruntime": ort.__version__}, {"onnxruntime": "1.0"}
    assert {(check.verdict, check.detail) for check in check_engines(opened, L4, here)} == {("ok", "fits")}
    assert {check.verdict for check in check_engines(opened, None, here)} == {"absent"}
    stale = {check.fix for check in check_engines(opened, L4, other)}
    assert stale == {f"python -m export.engine {package} --target cuda"}  # where it lies now, not where it was built
    assert {check.fix for check in check_engines(opened, L4, {"onnxruntime": ""})} == {"pip install onnxruntime"}
