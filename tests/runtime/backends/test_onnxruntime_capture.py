"""Sessions of known shapes, as for onnxruntime's NVIDIA providers, here with the CPU provider in their place: it
captures nothing, all else is the same."""

from __future__ import annotations

import gc
from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from export.passes.query_blocks import queries_of
from runtime import EngineError, Enhancer, PackageError
from runtime.backends.onnxruntime import capture
from runtime.backends.onnxruntime import session as onnxruntime_
from runtime.backends.onnxruntime.capture import CAPTURES, OPTIONS
from runtime.package.edits import with_whole_scores
from runtime.package.reading import Package

CAPTURED = {"CPUExecutionProvider": {}}
CONTROL_FLOW, SHAPES = {"If", "Loop", "Scan"}, {"Shape", "Size", "ConstantOfShape", "Range", "NonZero"}


def photo(height: int = 47, width: int = 65) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 60, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def captured(monkeypatch):
    monkeypatch.setattr(onnxruntime_, "CAPTURES", CAPTURED)


@pytest.fixture
def refused(captured, monkeypatch):
    """refused(stage, words): that stage's graph cannot be captured, in onnxruntime's words."""

    def refuse(stage: str, words: str) -> None:
        real = ort.InferenceSession
        names = {"denoiser": "x_t", "dwt": "image"}

        def session(graph, options, *, providers, enable_fallback):
            opened = real(graph, options, providers=providers, enable_fallback=enable_fallback)
            if isinstance(providers[0], tuple) and names[stage] in [node.name for node in opened.get_inputs()]:
                raise RuntimeError(f"[ONNXRuntimeError] : 1 : FAIL : {words}")
            return opened

        monkeypatch.setattr(onnxruntime_.ort, "InferenceSession", session)

    return refuse


def sessions(enhancer: Enhancer) -> dict[str, int]:
    gc.collect()
    return Counter(key[0] for key in enhancer.backend._fixed._sessions)


@pytest.mark.parametrize("size", [(1, 1), (47, 65), (96, 64)])
def test_with_every_dimension_known_nothing_is_left_that_cannot_be_captured(bundled_package, tmp_path, size):
    """Shape arithmetic stays on the CPU, control flow is refused: either would keep onnxruntime from capturing."""
    package = Package.open(bundled_package)
    rows, columns = (-(-side // 32) * 32 for side in size)
    before = {node.op_type for node in onnx.load_from_string(package.read("denoiser.onnx")).graph.node}
    assert {"If", "Shape"} <= before
    for stage in package.manifest.stages:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(tmp_path / stage.file)
        for spec in stage.tensors.values():
            for symbol, number in zip(spec.shape, spec.resolve(1, rows, columns), strict=True):
                if isinstance(symbol, str):
                    options.add_free_dimension_override_by_name(symbol, number)
        ort.InferenceSession(package.read(stage.file), options, providers=["CPUExecutionProvider"])
        left = {node.op_type for node in onnx.load(tmp_path / stage.file).graph.node}
        assert not left & (CONTROL_FLOW | SHAPES), stage.name


def test_the_same_picture(tiny_package, captured):
    with Enhancer.open(tiny_package, backend="onnxruntime") as enhancer:
        assert not sessions(enhancer), "a session of unknown shape was kept"
        found = [enhancer(photo(*size), steps=steps) for size in ((33, 1), (47, 65)) for steps in (1, 4)]
        found.append(enhancer(photo(), sampler="dpmpp-2m", steps=7))
        again = enhancer(photo(), sampler="dpmpp-2m", steps=7)
        assert "no CUDA graph" not in enhancer.backend.why
    np.testing.assert_array_equal(found[-1], again)
    onnxruntime_.CAPTURES = CAPTURES  # put back by the fixture
    with Enhancer.open(tiny_package, backend="onnxruntime") as enhancer:
        expected = [enhancer(photo(*size), steps=steps) for size in ((33, 1), (47, 65)) for steps in (1, 4)]
        expected.append(enhancer(photo(), sampler="dpmpp-2m", steps=7))
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_sessions_live_as_long_as_the_buffers_of_their_shape(tiny_package, captured):
    with Enhancer.open(tiny_package, backend="onnxruntime") as enhancer:
        for width in (32, 64, 96, 128, 32, 64):
            enhancer(photo(32, width), steps=1)
            kept = sessions(enhancer)
            assert set(kept.values()) == {len(enhancer.runner.programs)}, kept
        assert len(enhancer.runner.programs) == 2
        enhancer.runner.drop_buffers()
        assert not sessions(enhancer)


def test_buffers_that_come_again_get_the_graph_captured_on_them(tiny_package, captured):
    """A session keeps every graph that it captured: more than there are sets of buffers would be memory that grows."""
    counts = (1, 2, 4, 5, 8, 10)  # more than jobs are kept
    with Enhancer.open(tiny_package, backend="onnxruntime") as enhancer:
        for _ in range(3):
            for steps in counts:
                enhancer(photo(), steps=steps)
        (denoiser,) = [one for key, one in enhancer.backend._fixed._sessions.items() if key[0] == "denoiser"]
        assert sorted(denoiser._graphs.values()) == list(range(1, sum(counts) + 1))


def test_graphs_of_buffers_that_do_not_come_again_go_with_their_session(tiny_package, captured, monkeypatch):
    """A user who varies the steps: 216 graphs of 20 jobs, of which four are kept."""
    monkeypatch.setattr(capture, "_UNUSED_KEPT", 8)
    with Enhancer.open(tiny_package, backend="onnxruntime") as enhancer:
        for steps in (*range(1, 21), *range(1, 21)):
            enhancer(photo(16, 16), steps=steps, sampler="dpmpp-2m")
            if steps % 5:  # to look through all objects takes half a second
                continue
            gc.collect()
            alive = [one for one in gc.get_objects() if type(one) is capture.FixedSession]
            assert len(alive) <= 6, "one a stage, and one more while old jobs use it"
            assert sum(len(one._graphs) for one in alive) <= 130
            del alive


@pytest.mark.parametrize(
    "words",
    [
        "This session cannot use the graph capture feature as requested by the user as the model has control flow",
        "This session cannot use the CUDA Graph feature as requested by the user  as the model has control flow",
    ],
)
def test_a_graph_that_cannot_be_captured_runs_and_says_so(tiny_package, refused, words):
    refused("denoiser", words)
    with Enhancer.open(tiny_package, backend="onnxruntime") as enhancer:
        found = enhancer(photo(), steps=2)
        why = enhancer.backend.why
        enhancer(photo(32, 32), steps=2)
        assert enhancer.backend.why == why
    assert why.startswith("no CUDA graph of denoiser (batch 1, height/4 12, width/4 18): ")
    assert " ".join(words.split()) in why
    onnxruntime_.CAPTURES = CAPTURES
    with Enhancer.open(tiny_package, backend="onnxruntime") as enhancer:
        assert np.abs(found.astype(int) - enhancer(photo(), steps=2)).max() <= 1


def test_another_failure_is_an_error(tiny_package, refused):
    refused("dwt", "CUDA failure 35: CUDA driver version is insufficient")
    with (
        Enhancer.open(tiny_package, backend="onnxruntime") as enhancer,
        pytest.raises(EngineError, match=r"dwt\.onnx: onnxruntime .* cannot load it .*driver version"),
    ):
        enhancer(photo(), steps=1)


def test_only_cuda_captures():
    """onnxruntime's TensorRT provider keeps one graph a session: ten calls would replay the first."""
    assert set(CAPTURES) == {"CUDAExecutionProvider"}


def test_every_session_of_a_provider_is_told_its_options(tiny_package, captured, monkeypatch):
    asked = []
    opened = onnxruntime_.ort.InferenceSession

    def record(*args, providers, **more):
        asked.extend(providers)
        return opened(*args, providers=["CPUExecutionProvider"], **more)

    monkeypatch.setattr(onnxruntime_.ort, "InferenceSession", record)
    monkeypatch.setattr(onnxruntime_, "OPTIONS", {"CPUExecutionProvider": {"search": "quick"}})
    with Enhancer.open(tiny_package, backend="onnxruntime") as enhancer:
        enhancer(photo(), steps=1)
    graphs = [one for one in asked if not isinstance(one, str)]
    assert len(graphs) > len(enhancer.manifest.stages)
    assert all(name == "CPUExecutionProvider" and told["search"] == "quick" for name, told in graphs)
    assert set(OPTIONS) == {"CUDAExecutionProvider"}


@pytest.mark.parametrize("free", [1 << 40, 1, None])
def test_scores_are_whole_where_they_fit_the_gpu_and_else_in_blocks(tiny_package, captured, monkeypatch, free):
    """Blocks are a loop, which no CUDA graph holds."""
    monkeypatch.setattr(onnxruntime_, "free_gpu_bytes", lambda: free)
    with Enhancer.open(tiny_package, backend="onnxruntime") as enhancer:
        found = enhancer(photo(), steps=2)
        forms = {key[1].whole_scores for key in enhancer.backend._fixed._sessions if key[0] == "denoiser"}
        assert forms == {free == 1 << 40}
    onnxruntime_.CAPTURES = CAPTURES
    with Enhancer.open(tiny_package, backend="onnxruntime") as enhancer:
        assert np.abs(found.astype(int) - enhancer(photo(), steps=2)).max() <= 1


def test_with_whole_scores_no_size_runs_in_blocks(bundled_package):
    package = Package.open(bundled_package)
    model = onnx.load_from_string(with_whole_scores(package.graph("denoiser"), "denoiser"))
    assert queries_of(model) == 1 << 31
    with pytest.raises(PackageError, match="no blocks of queries; build the package again"):
        with_whole_scores(package.graph("dwt"), "dwt")
