"""The baselines compute the same picture as the package: otherwise their times would say nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.job import SEED, Job
from benchmarks.naive_trace import STAGES, UNROLLED, trace
from benchmarks.photos import synthetic
from benchmarks.runners import open_runner
from runtime.enhancer import Enhancer

WIDTH, HEIGHT = 44, 30
PADDED = 48, 32


@pytest.fixture(scope="module")
def expected(tiny_package) -> np.ndarray:
    with Enhancer.open(tiny_package) as enhancer:
        return enhancer(synthetic(WIDTH, HEIGHT), steps=2, seed=SEED)


def worst(picture: np.ndarray, expected: np.ndarray) -> int:
    assert picture.dtype == np.uint8
    assert picture.shape == expected.shape
    return int(np.abs(picture.astype(int) - expected).max())


@pytest.mark.parametrize(
    ("variant", "allowed"), [("eager fp32", 1), ("eager tf32", 1), ("eager bf16", 16), ("eager fp16", 4)]
)
def test_pytorch_makes_the_same_picture(tiny_package, make_checkpoint, expected, variant, allowed):
    job = Job("pytorch", str(tiny_package), 2, "ddim", checkpoint=str(make_checkpoint()), variant=variant)
    runner = open_runner(job)
    assert worst(runner.run(synthetic(WIDTH, HEIGHT)), expected) <= allowed
    assert list(runner.stages) == ["pad", "upload", "dwt", "hfrm0", "hfrm1", "denoiser", "idwt", "download", "crop"]


@pytest.mark.parametrize("variant", ["eager fp32", "eager tf32", "eager bf16", "compile fp32"])
def test_tf32_is_on_for_its_own_variant_alone(tiny_package, make_checkpoint, variant):
    """For convolutions and matrix products alike, whatever PyTorch's default is."""
    import torch

    places = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = variant != "eager tf32"
        open_runner(Job("pytorch", str(tiny_package), 2, "ddim", checkpoint=str(make_checkpoint()), variant=variant))
        assert [place.allow_tf32 for place in places] == [variant == "eager tf32"] * 2
    finally:
        for place, own in zip(places, before, strict=True):
            place.allow_tf32 = own


def test_the_compiled_variant_compiles_the_unet(tiny_package, make_checkpoint, monkeypatch):
    from torch import nn

    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    job = Job("pytorch", str(tiny_package), 2, "ddim", checkpoint=str(make_checkpoint()), variant="compile fp32")
    assert open_runner(job).name == "cpu compile fp32"
    assert compiled == ["UNet"]


@pytest.mark.parametrize("variant", [STAGES, UNROLLED])
def test_plain_traces_make_the_same_picture(tiny_package, make_checkpoint, expected, tmp_path, variant):
    trace(str(make_checkpoint()), *PADDED, 2, variant, tmp_path)
    names = sorted(path.stem for path in tmp_path.glob("*.onnx"))
    assert names == (["unrolled"] if variant == UNROLLED else ["dwt", "hfrm0", "hfrm1", "idwt", "unet"])
    for path in tmp_path.glob("*.onnx"):  # plain: nothing is dynamic
        inputs = onnx.load(path).graph.input
        assert all(dim.HasField("dim_value") for one in inputs for dim in one.type.tensor_type.shape.dim)
    job = Job("naive-onnx", str(tiny_package), 2, "ddim", variant=variant, traces=str(tmp_path))
    runner = open_runner(job)
    assert worst(runner.run(synthetic(WIDTH, HEIGHT)), expected) <= 1
    assert len(runner.step_ms) == (0 if variant == UNROLLED else 2)


def test_the_package_runner_gives_the_enhancers_picture(tiny_package, expected):
    runner = open_runner(Job("package", str(tiny_package), 2, "ddim", "onnxruntime"))
    assert worst(runner.run(synthetic(WIDTH, HEIGHT)), expected) == 0


def test_the_worker_of_a_package_never_loads_torch(tiny_package):
    code = (
        "import sys, benchmarks.worker\nfrom benchmarks.job import Job\nfrom benchmarks.runners import open_runner\n"
        f"open_runner(Job('package', {str(tiny_package)!r}, 1, 'ddim', 'onnxruntime'))\n"
        "assert not {'torch', 'onnx', 'export'} & set(sys.modules)\n"
    )
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
