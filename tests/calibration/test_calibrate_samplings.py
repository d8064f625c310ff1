"""A package with more samplings than the published one: all of them are collected, judged, protected and certified."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper as numpy_helper
import pytest
from calibration_command import damaged, run_calibration
from sampled import with_samplings

from calibration.cli import main
from calibration.collect import denoiser_calls, empty
from calibration.layers import find_layers, load_graph
from calibration.trials import Trial
from runtime import EngineError, Enhancer
from runtime.image import psnr
from runtime.package.reading import Package


@pytest.fixture(scope="module")
def fast_package(tiny_package, tmp_path_factory) -> Path:
    return with_samplings(tiny_package, tmp_path_factory.mktemp("fast") / "fp32")


@pytest.fixture(scope="module")
def fast_int8(fast_package, photos) -> Path:
    output = fast_package.with_name("int8")
    done = run_calibration(fast_package, *photos, "-o", output)
    assert done.returncode == 0, done.stderr
    assert "sampling published: " in done.stderr
    assert "sampling fast: " in done.stderr
    return output


def test_every_call_of_every_sampling_has_its_ranges(fast_int8):
    ranges = json.loads((fast_int8 / "calibration.json").read_text())
    calls = [(call["sampling"], call["timestep"]) for call in ranges["calls"]]
    assert calls == [*(("published", t) for t in range(180, -1, -20)), ("fast", 80), ("fast", 40)]
    for stage, tensors in ranges["stages"].items():
        count = 12 if stage == "denoiser" else 1
        assert all(len(tensor["lows"]) == len(tensor["highs"]) == count for tensor in tensors.values())
    highs = [tensor["highs"] for tensor in ranges["stages"]["denoiser"].values()]
    assert any(one[5] != one[10] for one in highs)  # timestep 80, from noise and from zero
    costs = ranges["sensitivity"]["calls_psnr_db"]
    assert [(name, len(of)) for name, of in costs.items()] == [("published", 10), ("fast", 2)]
    table = (fast_int8 / "sensitivity.md").read_text()
    assert "| fast | 80 |" in table
    assert "| published | 80 |" in table


def test_the_certificate_has_a_row_for_each_sampling_and_unseen_photo(fast_int8):
    rows = json.loads((fast_int8 / "certificate.json").read_text())["end_to_end"]
    assert [(row["sampling"], row["steps"]) for row in rows] == [("published", 10), ("fast", 2)]
    assert len({row["photos"]["sha256"] for row in rows}) == 1
    assert "default_rng(0)" in rows[0]["noise"]
    assert rows[1]["noise"] == "none, x_T is zero"
    assert all(row["psnr_db"] >= 40 for row in rows)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_int8_package_runs_fast_within_the_budget(fast_int8, fast_package, photos, backend):
    from PIL import Image

    with Image.open(photos[2]) as photo:
        pixels = np.asarray(photo)
    with Enhancer.open(fast_int8, backend=backend) as enhancer, Enhancer.open(fast_package) as reference:
        assert enhancer.manifest.samplings == reference.manifest.samplings
        assert enhancer.manifest.samplings["fast"].judged == {"photos": 3}
        found, expected = enhancer(pixels, sampling="fast"), reference(pixels, sampling="fast")
    assert 38 < psnr(expected, found, 255) < 80


def test_ranges_hold_what_fast_alone_sees(fast_package, tiny_package):
    """Columns of extremes: one a call, over all samplings; one outside the loop."""
    package = Package.open(fast_package)
    layers = {name: find_layers(load_graph(package.graph(name)), attention=True) for name in ("denoiser", "hfrm0")}
    observed = empty(package, layers)
    assert observed["denoiser"].highs.shape[1] == len(denoiser_calls(package.manifest)) == 12
    assert observed["hfrm0"].highs.shape[1] == 1
    assert empty(Package.open(tiny_package), layers)["denoiser"].highs.shape[1] == 10


def test_the_worst_sampling_is_the_one_that_counts():
    assert Trial({}, {}, {"published": [1e-5, 2e-5], "fast": [3e-4, 1e-6]}).worst_error == 3e-4


def test_a_nan_is_named_by_sampling_too(fast_package, photos, tmp_path):
    """Timestep 50 is a call of one sampling alone."""

    def edit(model: onnx.ModelProto) -> None:
        tensor = next(one for one in model.graph.initializer if one.name == "shift_table")
        values = numpy_helper.to_array(tensor).copy()
        values[50] = np.nan
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    package = damaged(fast_package, tmp_path / "nan", "denoiser", edit)
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["samplings"]["fast"]["timesteps"] = [80, 50]
    (package / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(EngineError, match=r"sampling fast, step 2 of 2 \(timestep 50\)"):
        main([str(package), *map(str, photos[:2]), "-o", str(tmp_path / "out")])
