"""The doctor's test graph on TensorRT: built here by TensorRT-RTX without a GPU, run only where there is one."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.doctor import probes as doctor_checks
from runtime.doctor.tensorrt import build_graph, run_plan
from runtime.machine.gpu import Gpu, current_gpu

GPU = Gpu("NVIDIA L4", "8.9", False, "12.8")


def test_the_library_builds_the_graph_with_its_own_parser():
    trt = pytest.importorskip("tensorrt_rtx")
    assert len(bytes(build_graph(trt, doctor_checks.CONV_GRAPH))) > 1000
    with pytest.raises(ValueError, match="test graph"):
        build_graph(trt, b"no graph")


@pytest.mark.gpu
@pytest.mark.skipif(current_gpu() is None, reason="no NVIDIA GPU is visible here")
@pytest.mark.parametrize("module", ["tensorrt", "tensorrt_rtx"])
def test_the_graph_computes_what_numpy_computes(module):
    trt = pytest.importorskip(module)
    expected = doctor_checks.conv_expected()
    found = run_plan(trt, build_graph(trt, doctor_checks.CONV_GRAPH), doctor_checks.conv_input(), expected.shape)
    np.testing.assert_allclose(found, expected, atol=doctor_checks.TOLERANCE)


@pytest.mark.parametrize(
    ("gpu", "found", "verdict", "words", "fix"),
    [
        (GPU, {"worst": 0.001}, "ok", "built and ran the test graph (at most 0.001 off)", ""),
        (GPU, {}, "problem", "cuda-bindings, which runs engines, is missing", "pip install 'cuda-bindings==12.*'"),
        (GPU, {"failure": "makes no builder"}, "problem", "makes no builder", "pip install --force-reinstall tensorrt"),
        (None, {}, "absent", "needs a GPU to run", ""),
    ],
)
def test_the_verdict_is_of_a_run(monkeypatch, gpu, found, verdict, words, fix):
    monkeypatch.setattr(doctor_checks, "installed", lambda module: True)
    monkeypatch.setattr(doctor_checks, "is_jetson", lambda: False)
    monkeypatch.setattr(doctor_checks, "run_probe", lambda *_: {"version": "10.13", "file": "x", **found})
    check = doctor_checks.check_tensorrt("tensorrt", gpu)
    assert (check.verdict, check.fix, check.version) == (verdict, fix, "10.13")
    assert words in check.detail
