"""The cost read from the graphs, against PyTorch's own counter and a graph counted by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.graph_cost import graph_cost, package_costs, photo_bytes, photo_flop
from export.checkpoint import load_checkpoint
from export.graphs import stage_graphs
from export.model import Architecture, DiffLL
from runtime.errors import PackageError
from runtime.package import Package


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
    costs = package_costs(package, 48, 72)
    assert {name: cost.flop for name, cost in costs.items()} == expected
    assert expected["denoiser"] > 0
    assert photo_flop(costs, 4) == sum(expected.values()) + 3 * expected["denoiser"]


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


def test_the_score_matrix_is_in_the_memory_and_grows_with_the_square(tiny_package):
    package = Package.open(tiny_package)
    live = [package_costs(package, side, side)["denoiser"].live_bytes for side in (256, 512)]
    scores = [4 * (side // 8) ** 4 for side in (256, 512)]  # attention at H/8
    assert live[1] > 2 * scores[1]  # before and after the softmax
    assert live[1] - 2 * scores[1] < 5 * (live[0] - 2 * scores[0])
    assert photo_bytes(package, package_costs(package, 256, 256), 256, 256) > live[0]


def test_a_graph_whose_shapes_cannot_be_told_is_refused():
    nodes = [helper.make_node("NonZero", ["x"], ["y"])]
    with pytest.raises(PackageError, match="by hand: the shape of 'y' cannot be told"):
        graph_cost(graph(nodes, {}), "by hand")
