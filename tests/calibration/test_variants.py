"""The loop with other graphs in some places of it."""

from __future__ import annotations

import numpy as np
import pytest
from sampled import with_samplings

from calibration.layers import find_layers, load_graph
from calibration.quantise import quantise
from calibration.variants import Judge, mean_squared_error, sixteen_bits
from runtime.image import decibels
from runtime.package.reading import Package
from runtime.package.sampling import timesteps

STEPS = [int(t) for t in timesteps(200, 10)]


@pytest.fixture(scope="module")
def judge(tiny_package, tmp_path_factory):
    photos = np.random.default_rng(5).integers(0, 80, (2, 24, 32, 3), np.uint8)
    made = Judge(
        Package.open(with_samplings(tiny_package, tmp_path_factory.mktemp("variants") / "fast")), [photos, photos[0]]
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def int8(tiny_package) -> bytes:
    model = load_graph((tiny_package / "denoiser.onnx").read_bytes())
    layers = find_layers(model, attention=True)
    return quantise(model, layers, {name: 3.0 for layer in layers for name in layer.tensors})


def test_the_same_graph_is_without_error(judge, tiny_package):
    graphs = {"denoiser": (tiny_package / "denoiser.onnx").read_bytes()}
    assert judge.errors(judge.pictures(graphs)) == {"published": [0, 0], "fast": [0, 0]}
    assert decibels(0) == 200


def test_steps_can_be_taken_by_another_graph(judge, int8):
    everywhere = judge.errors(judge.pictures({"denoiser": int8}))
    for sampling, steps in (("published", STEPS), ("fast", [80, 40])):
        assert min(everywhere[sampling]) > 0
        whole = judge.errors(judge.pictures({"denoiser": int8}, (sampling, set(steps))))
        assert whole == {sampling: everywhere[sampling]}
        assert judge.errors(judge.pictures({"denoiser": int8}, (sampling, set()))) == {sampling: [0, 0]}
        single = [judge.errors(judge.pictures({"denoiser": int8}, (sampling, {t})))[sampling][0] for t in steps]
        assert all(error > 0 for error in single)
        assert len(set(single)) == len(single)


def test_errors_are_measured_with_sixteen_bits():
    a = np.zeros((2, 2, 3), np.uint8)
    assert sixteen_bits(a + 255).max() == 65535
    b = sixteen_bits(a).copy()
    b[0, 0, 0] = 65535
    assert decibels(mean_squared_error(sixteen_bits(a), b)) == pytest.approx(10 * np.log10(12))
