"""Fixtures of the TensorRT backend's tests, and of those of photos."""

from __future__ import annotations

import gc
import sys
from types import ModuleType

import pytest
from tensorrt_machine import GPU, Machine, forget_modules


@pytest.fixture
def machine(monkeypatch):
    found = Machine()
    forget_modules()
    monkeypatch.setattr("runtime.machine.gpu.current_gpu", lambda: GPU)
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


@pytest.fixture
def without_extras(monkeypatch):
    """As where Pillow alone reads photos."""
    for name in ("pillow_heif", "rawpy"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the writer of photos warns of."""
    lines: list[str] = []
    warn = "runtime.photo.write._log.warning"
    monkeypatch.setattr(warn, lambda form, *values: lines.append(form % values))
    return lines
