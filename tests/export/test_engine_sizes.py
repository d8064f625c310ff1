"""Engines of the bundled network in fp32 and of the full-size one in fp16, really built by TensorRT-RTX on the CPU."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from export.builders.profiles import profile, size_range
from export.builders.tensorrt import Options, TensorRTBuilder
from export.checkpoint import load_checkpoint
from export.files import bundled_checkpoint
from export.model import Architecture, DiffLL
from export.passes.query_blocks import query_blocks
from export.tracing.graphs import stage_graphs
from runtime.package.manifest import Stage

pytest.importorskip("tensorrt_rtx")
SIZES = size_range([(600, 400)], (3840, 2160), 32)
GB = 1e9


@cache
def network(name: str) -> DiffLL:
    if name == "bundled":
        return load_checkpoint(bundled_checkpoint()).model()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DiffLL(Architecture()).eval().requires_grad_(False)


def build(name: str, precision: str, stages: set[str], graph_of, tmp_path: Path):
    """(stage, report) of each of ``stages``; graph_of: StageGraph -> what a package has of it."""
    builder = TensorRTBuilder("tensorrt-rtx", Options(compute_capabilities=("8.6", "8.9", "12.0")))
    for graph in stage_graphs(network(name), precision):
        if graph.name in stages:
            content = graph_of(graph)
            stage = Stage(graph.name, f"{graph.name}.onnx", graph.inputs, graph.outputs)
            files, report = builder.build(content, profile(stage, SIZES, 1), tmp_path / "timing.cache")
            assert len(files["engine.plan"]) > 100_000
            yield graph.name, report


def of_package(package: Path):
    return lambda stage: (package / f"{stage.name}.onnx").read_bytes()


@pytest.mark.parametrize(("name", "precision"), [("bundled", "fp32"), ("full", "fp16")])
def test_denoiser_and_hfrm_build_up_to_4k(name, precision, bundled_package, kept_trace, tmp_path):
    def traced(stage):
        content = kept_trace(stage, 32)
        return query_blocks(content) if stage.name == "denoiser" else content

    graph_of = traced if name == "full" else of_package(bundled_package)
    reports = dict(build(name, precision, {"denoiser", "hfrm0"}, graph_of, tmp_path))
    bytes_each = 4 if precision == "fp32" else 2
    parameters = {"bundled": 5.2e6, "full": 20e6}[name]
    assert reports["denoiser"]["weights_bytes"] == pytest.approx(parameters * bytes_each, rel=0.1)
    activation = reports["denoiser"]["activation_bytes"]
    score_matrix = (3840 // 16 * 2176 // 16) ** 2 * bytes_each
    if (name, precision) == ("full", "fp16"):
        assert activation <= 1.5 * GB
        assert activation < score_matrix  # fused: not even one score matrix would fit
    if precision == "fp32":  # TensorRT-RTX has no fused float32 attention for these heads
        assert activation > score_matrix


def test_wavelet_stages_build_up_to_4k(bundled_package, tmp_path):
    reports = dict(build("bundled", "fp32", {"dwt", "idwt"}, of_package(bundled_package), tmp_path))
    assert set(reports) == {"dwt", "idwt"}
