"""The float32 twin that certifies a bf16 package."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from export.passes.emulate import emulated_package
from runtime.package.reading import Package


def test_the_twin_tells_its_own_weights(half_package, tmp_path):
    """Those of a network of some megabytes had been refused when the twin was opened, as they were bfloat16's."""
    package = Package.open(half_package("bf16"))
    twin = emulated_package(package, tmp_path / "twin")
    for stage in twin.manifest.stages:
        graph = onnx.load_from_string(twin.graph(stage.name)).graph
        told = twin.manifest.cost[stage.name].weight_bytes
        assert told == sum(numpy_helper.to_array(one).nbytes for one in graph.initializer)
    told, before = (one.manifest.cost["denoiser"].weight_bytes for one in (twin, package))
    assert told > 1.5 * before
