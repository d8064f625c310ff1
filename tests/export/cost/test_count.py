"""The cost read from the graphs, against PyTorch's own counter and a graph counted by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch.utils.flop_counter import FlopCounterMode

from export.checkpoint import load_checkpoint
from export.cost.count import GraphCost, graph_cost, sized
from export.cost.fit import fit
from export.model import Architecture, DiffLL
from export.passes.cpu_forms import restore
from export.passes.query_blocks import QUERIES
from export.tracing.graphs import stage_graphs
from runtime.errors import PackageError
from runtime.package.manifest import Polynomial
from runtime.package.reading import Package


def stage_counts(package: Package, name: str, height: int, width: int) -> tuple[GraphCost, GraphCost]:
    """What a stage's graph costs at one padded size: as it is written, and in its plain form."""
    content, stage = package.graph(name), package.manifest.stage(name)
    written, plain = (graph_cost(sized(form, stage, height, width), name) for form in (content, restore(content)))
    return written, plain


def torch_flop(model: DiffLL, height: int, width: int) -> dict[str, int]:
    """Stage -> 2 x multiply-adds as torch counts them, on the device of the model's weights."""
    found = {}
    device = next(model.parameters()).device
    for stage in stage_graphs(model):
        shapes = [spec.resolve(1, height, width) for spec in stage.inputs]
        inputs = [torch.zeros(shape, device=device) for shape in shapes]
        if stage.name == "denoiser":
            inputs[3] = torch.zeros(1, dtype=torch.int32, device=device)
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            stage.module(*inputs)
        found[stage.name] = counter.get_total_flops()
    return found


def test_multiplications_are_those_that_torch_counts(tiny_package, make_checkpoint):
    package = Package.open(tiny_package)
    expected = torch_flop(load_checkpoint(make_checkpoint()).model(), 48, 72)
    assert {name: stage_counts(package, name, 48, 72)[1].flop for name in expected} == expected
    assert expected["denoiser"] > 0


@pytest.mark.parametrize(("height", "width", "gflop"), [(416, 608, 718.5), (1088, 1920, 8219.3), (2176, 3840, 64071.3)])
def test_the_full_size_network_costs_what_the_docs_say(height, width, gflop):
    """The table in docs/benchmarks.md, by torch's counter on a network without memory."""
    with torch.device("meta"):
        model = DiffLL(Architecture())
        model.Unet.shifts = lambda t: [torch.zeros(len(t), b.conv1.out_channels) for b in model.Unet.blocks()]
        found = torch_flop(model, height, width)
    assert (sum(found.values()) + 9 * found["denoiser"]) / 1e9 == pytest.approx(gflop, abs=0.1)


def graph(nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    """x (1, 2, 8, 8) -> y, its shape left open."""
    made = helper.make_graph(
        nodes,
        "by-hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)])


def test_a_convolution_with_groups_and_one_transposed_counted_by_hand():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], group=2, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["h", "v"], ["y"], kernel_shape=[4, 4], strides=[2, 2], pads=[1, 1, 1, 1]),
    ]
    cost = graph_cost(graph(nodes, {"w": (6, 1, 3, 3), "v": (6, 5, 4, 4)}), "by hand")
    assert cost.flop == 2 * (6 * 4 * 4) * 9 + 2 * (6 * 4 * 4) * (5 * 16)
    assert cost.weight_bytes == 4 * (6 * 9 + 6 * 5 * 16)


def test_what_is_alive_at_once_counted_by_hand():
    nodes = [
        helper.make_node("Sin", ["x"], ["a"]),  # x and a: 2
        helper.make_node("Concat", ["a", "a"], ["b"], axis=1),  # x, a, b: 1 + 1 + 2
        helper.make_node("Flatten", ["b"], ["c"]),  # a view of b; a is gone
        helper.make_node("Cos", ["c"], ["d"]),  # x, b, d: 1 + 2 + 2
        helper.make_node("ReduceSum", ["d"], ["y"], keepdims=0),  # x, d, y: b is gone
    ]
    assert graph_cost(graph(nodes, {}), "by hand").live_bytes == 5 * (2 * 8 * 8 * 4)


def test_of_the_score_matrix_one_block_is_counted(tiny_package):
    """Attention at H/8, and nothing else of a denoiser grows faster than the pixels."""
    package = Package.open(tiny_package)
    (small, _), (large, plain) = (stage_counts(package, "denoiser", side, side) for side in (512, 1024))
    block = 4 * QUERIES * (1024 // 8) ** 2
    assert 2 * block < large.live_bytes < 4 * small.live_bytes + 1000
    assert plain.live_bytes > 4 * large.live_bytes
    scores = 4 * (1024 // 8) ** 4
    assert plain.live_bytes > 2 * scores  # before and after the softmax


def test_a_graph_whose_shapes_cannot_be_told_is_refused():
    nodes = [helper.make_node("NonZero", ["x"], ["y"])]
    with pytest.raises(PackageError, match="by hand: the shape of 'y' cannot be told"):
        graph_cost(graph(nodes, {}), "by hand")


# --- polynomials of the size, in the manifest

SIZES = [(32, 32), (64, 512), (512, 64), (256, 512), (2048, 1024)]


@pytest.mark.parametrize("terms", [(7, 0, 0, 0), (0, 3, 5, 0), (9e3, 0, 1, 0.25), (1e6, 0, 3, 2**-16), (0, 0, 0, 0)])
def test_a_polynomial_is_found_again(terms):
    found = fit(SIZES, [round(Polynomial(*terms).at(*size)) for size in SIZES])
    assert (found.constant, found.per_row, found.per_pixel, found.per_pixel_squared) == pytest.approx(terms, rel=1e-6)


def test_no_coefficient_is_negative_where_none_passes_through_the_counts():
    found = fit(SIZES, [max(h * w - 1000, 10 * w) for h, w in SIZES])
    assert min(found.constant, found.per_row, found.per_pixel, found.per_pixel_squared) >= 0


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [("tiny", 400, 608), ("tiny", 1920, 1088), ("tiny", 3000, 4000), ("bundled", 128, 192), ("bundled", 1088, 1920)],
)
def test_the_manifest_s_cost_is_the_graphs_count(name, height, width, request):
    package = Package.open(request.getfixturevalue(f"{name}_package"))
    for name, cost in package.manifest.cost.items():
        written, plain = stage_counts(package, name, height, width)
        assert cost.flop.at(height, width) == pytest.approx(plain.flop, rel=1e-6)
        assert cost.weight_bytes == written.weight_bytes
        assert cost.live_bytes.at(height, width) == pytest.approx(written.live_bytes, rel=0.01)


def test_a_small_photo_is_not_taken_for_less_than_it_is(tiny_package):
    """Below one block of queries the scores grow with the square: the polynomial, made above, is too high there."""
    package = Package.open(tiny_package)
    count = stage_counts(package, "denoiser", 48, 72)[0].live_bytes
    assert count < package.manifest.cost["denoiser"].live_bytes.at(48, 72) < 2 * count
