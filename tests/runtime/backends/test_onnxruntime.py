from __future__ import annotations

import gc
import weakref

import numpy as np
import onnxruntime as ort
import pytest

from runtime import BackendUnavailableError
from runtime.backends import open_backend
from runtime.backends.onnxruntime import preload as preloading
from runtime.package.reading import Package


def test_a_call_keeps_its_buffers_alive(tiny_package):
    """onnxruntime 1.23 binds bare addresses: a buffer that was dropped after bind() was a use after free."""
    package = Package.open(tiny_package)
    backend = open_backend("onnxruntime", package, None)
    specs = package.manifest.stage("dwt").tensors
    tensors = {name: backend.buffer(spec, spec.resolve(1, 16, 16)) for name, spec in specs.items()}
    backend.upload(tensors["image"], np.ones((1, 3, 16, 16), np.float32))
    call = backend.bind("dwt", tensors)
    alive = [weakref.ref(tensor) for tensor in tensors.values()]
    x_cond = tensors["x_cond"]
    del tensors
    gc.collect()
    assert all(reference() is not None for reference in alive)
    call()
    np.testing.assert_array_equal(backend.download(x_cond), np.full((1, 3, 4, 4), 4, np.float32))
    del call, x_cond
    gc.collect()
    assert all(reference() is None for reference in alive)


def test_what_onnxruntime_prints_of_missing_libraries_is_in_the_error_and_not_on_stdout(
    tiny_package, monkeypatch, capsys
):
    words = "Failed to load libcublasLt.so.13: cannot open shared object file"
    monkeypatch.setattr(ort, "preload_dlls", lambda: print(words), raising=False)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    real = ort.InferenceSession
    monkeypatch.setattr(ort, "InferenceSession", lambda graph, options, **_: real(graph, options))
    preloading.preload.cache_clear()
    with pytest.raises(BackendUnavailableError, match=rf"fell back to CPU.*{words}.*runtime\.doctor"):
        open_backend("onnxruntime", Package.open(tiny_package), ["CUDA"])
    preloading.preload.cache_clear()
    assert capsys.readouterr().out == ""
