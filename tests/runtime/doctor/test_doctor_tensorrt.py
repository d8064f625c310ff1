"""The doctor's test graph on TensorRT: built here by TensorRT-RTX without a GPU, run only where there is one."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.doctor import checks, probes
from runtime.doctor.probes import build_graph, run_plan
from runtime.machine.gpu import Gpu, current_gpu

GPU = Gpu("NVIDIA L4", "8.9", False, "12.8")


def test_the_library_builds_the_graph_with_its_own_parser():
    trt = pytest.importorskip("tensorrt_rtx")
    assert len(bytes(build_graph(trt, probes.CONV_GRAPH))) > 1000
    with pytest.raises(ValueError, match="test graph"):
        build_graph(trt, b"no graph")


@pytest.mark.gpu
@pytest.mark.skipif(current_gpu() is None, reason="no NVIDIA GPU is visible here")
@pytest.mark.parametrize("module", ["tensorrt", "tensorrt_rtx"])
def test_the_graph_computes_what_numpy_computes(module):
    trt = pytest.importorskip(module)
    found = run_plan(trt, build_graph(trt, probes.CONV_GRAPH))
    np.testing.assert_allclose(found, probes.CONV_EXPECTED, atol=probes.TOLERANCE)


@pytest.mark.parametrize(
    ("gpu", "found", "verdict", "words", "fix"),
    [
        (
            GPU,
            {"ran": "built and ran the test graph (at most 0.001 off)"},
            "ok",
            "built and ran the test graph (at most 0.001 off)",
            "",
        ),
        (GPU, {}, "problem", "cuda-bindings, which runs engines, is missing", "pip install 'cuda-bindings==12.*'"),
        (GPU, {"error": "makes no builder"}, "problem", "makes no builder", "pip install --force-reinstall tensorrt"),
        (None, {}, "absent", "needs a GPU to run", ""),
    ],
)
def test_the_verdict_is_of_a_run(monkeypatch, gpu, found, verdict, words, fix):
    monkeypatch.setattr(checks, "installed", lambda library: True)
    monkeypatch.setattr("runtime.machine.gpu.is_jetson", lambda: False)
    monkeypatch.setattr(checks, "run_probe", lambda *_: {"version": "10.13", "file": "x", **found})
    (check,) = checks.check_backend("tensorrt", gpu, {})
    assert (check.verdict, check.fix, check.version) == (verdict, fix, "10.13")
    assert words in check.detail


def test_a_build_for_servers_is_told_on_a_jetson(monkeypatch):
    monkeypatch.setattr(checks, "installed", lambda library: True)
    monkeypatch.setattr("runtime.machine.gpu.is_jetson", lambda: True)
    found = {"version": "10.13", "file": "/venv/site-packages/tensorrt/__init__.py", "error": "makes no builder"}
    monkeypatch.setattr(checks, "run_probe", lambda *_: found)
    (check,) = checks.check_backend("tensorrt", GPU, {})
    assert check.detail.endswith("tensorrt/__init__.py: a build for servers, not JetPack's")
    assert check.fix == "pip uninstall -y tensorrt && sudo apt install python3-libnvinfer-dev"
