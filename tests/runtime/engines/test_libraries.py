"""What pip is told to install: builds for the CUDA that the driver speaks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtime.engines.libraries import advice, install_line, wheel_of
from runtime.machine.gpu import Gpu

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("library", "twelve", "thirteen"),
    [
        ("tensorrt", "tensorrt-cu12", "tensorrt"),
        ("tensorrt-rtx", "tensorrt-rtx-cu12", "tensorrt-rtx"),
        ("onnxruntime-gpu", '"onnxruntime-gpu[cuda,cudnn]<1.27"', '"onnxruntime-gpu[cuda,cudnn]"'),
        ("onnxruntime", "onnxruntime", "onnxruntime"),
        ("openvino", "openvino", "openvino"),
    ],
)
def test_a_driver_gets_builds_for_its_cuda(monkeypatch, library, twelve, thirteen):
    monkeypatch.setattr("runtime.machine.gpu.is_jetson", lambda: False)
    for driver, wheel in (("12.8", twelve), ("13.0", thirteen), (None, thirteen)):
        here = Gpu("NVIDIA L4", "8.9", False, driver) if driver else None
        monkeypatch.setattr("runtime.machine.gpu.current_gpu", lambda here=here: here)
        assert wheel_of(library, here) == wheel
        assert install_line(library) == f"pip install {wheel}"
        assert f"`pip install --force-reinstall {wheel}`" in advice(library, again=True)


@pytest.mark.parametrize("file", ["pyproject.toml", "runtime/pyproject.toml"])
def test_there_are_extras_for_cuda_12_that_bring_nothing_for_13(file):
    text = (ROOT / file).read_text()
    for extra in ("onnxruntime-gpu-cu12", "tensorrt-cu12", "tensorrt-rtx-cu12"):
        (line,) = re.findall(rf"^{extra} = (.*)$", text, re.MULTILINE)
        assert '"cuda-bindings==12.*"' in line or "<1.27" in line
        assert not re.search(r'"tensorrt(-rtx)?>', line)
