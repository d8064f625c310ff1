"""``python -m training`` as a whole, on a small network and small photos."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import runtime.image
from export.checkpoint import load_checkpoint
from export.samplings import samplings_of
from training import run
from training.cli import main
from training.course import Course
from training.losses import ssim
from training.options import Options
from training.photos import Batch, Patches, read_photos
from training.step import batch_losses


def log(output, kind):
    path = output.parent / f"{output.name.split('.')[0]}-training" / "log.jsonl"
    return [line for line in map(json.loads, path.read_text().splitlines()) if line["kind"] == kind]


@pytest.mark.parametrize("name", ["mine.pth.tar", "mine.safetensors"])
def test_a_few_iterations_leave_checkpoint_card_log_and_pictures(train, bright, pairs, small, name):
    output = train(bright, "--darken", "--timesteps", "80,40", "60", "--evaluate", pairs, name=name)
    trained, start = load_checkpoint(output), load_checkpoint(small)
    assert trained.arch == start.arch
    assert any((trained.weights[name] != value).any() for name, value in start.weights.items())
    found = [(one.name, one.timesteps, one.start) for one in samplings_of(trained, None)]
    assert found == [("fast", (80, 40), "zero"), ("fast-1", (60,), "zero")]
    evaluated = [(line["iteration"], line["sampling"]) for line in log(output, "evaluation")]
    assert evaluated == [(n, name) for n in (0, 3) for name in ("published", "fast", "fast-1")]
    assert Image.open(output.parent / "mine-training" / "samples-000003.jpg").size == (5 * 300, 200)
    card = (output.parent / "mine.md").read_text()
    assert trained.sha256 in card
    assert all(words in card for words in ("6 photos", "darkened", "`fast` 80, 40 from zero", "| 3 | fast-1 |"))
    assert sorted(path.name for path in output.parent.iterdir()) == sorted(["mine-training", "mine.md", name])


@pytest.fixture
def low(bright, tmp_path):
    """The dark photos of ``bright``."""
    folder = tmp_path / "low"
    folder.mkdir()
    for path in bright.iterdir():
        Image.fromarray(np.asarray(Image.open(path)) // 8).save(folder / path.name)
    return folder


def test_a_network_learns_its_references(train, bright, low, monkeypatch):
    """Against one that hardly learns, on the same batches."""
    monkeypatch.setattr(run, "REPORT", 8)
    ends = []
    for name, rate in (("learns", 3e-3), ("hardly", 1e-9)):
        words = ("--references", bright, "--timesteps", "60", "--learning-rate", rate)
        ends.append(log(train(low, *words, iterations=16, name=f"{name}.pth"), "losses")[-1])
    assert ends[0]["low_frequency"] < 0.97 * ends[1]["low_frequency"]
    assert ends[0]["diffusion"] < ends[1]["diffusion"]


def test_a_loss_counts_by_its_weight(train, bright):
    one = log(train(bright, "--darken", "--weight", "content=0", "diffusion=2", iterations=1), "losses")[0]
    wanted = 2 * one["diffusion"] + 0.5 * one["low_frequency"] + one["detail_preserving"]
    assert one["loss"] == pytest.approx(wanted, rel=1e-3)


def test_without_references_the_goal_is_the_published_picture_of_the_start(train, low, small):
    """The first iteration, computed again by hand."""
    found = log(train(low, "--timesteps", "60", iterations=1), "losses")[0]
    photos = read_photos(low, "teacher", None, 32)
    options = Options(low, low, goal="teacher", samplings=((60,),), iterations=1, batch=1, patch=32)
    dark = torch.from_numpy(Patches(photos, 0)[Batch(0, 16, 3)][0]).permute(0, 3, 1, 2) / 255
    random, model = torch.Generator().manual_seed(0), load_checkpoint(small).model()
    published = model(dark, torch.randn((3, 3, 4, 4), generator=random))
    assert (published - dark).abs().mean() > 0.1
    loop = Course(options, lambda: 0.0).loop(0)
    wanted = batch_losses(model, dark, published, loop, random, options.weights)
    assert found["loss"] == pytest.approx(float(wanted[0]), abs=2e-5)
    assert "published picture of the network" in (low.parent / "mine.md").read_text()


def test_a_new_network_is_trained_by_the_clock(bright, tmp_path):
    output = tmp_path / "new.safetensors"
    words = [bright, "-o", output, "--darken", "--minutes", 0.08, "--batch", 1, "--patch", 64, "--workers", 1]
    assert main([*map(str, words), "--device", "cpu", "--precision", "fp32"]) == 0
    assert load_checkpoint(output).arch.ch == 32
    assert 1 <= log(output, "losses")[-1]["seconds"] < 30


def test_ssim_is_the_one_of_the_runtime():
    random = np.random.default_rng(0)
    one = random.random((30, 40, 3), np.float32)
    other = (one + random.normal(0, 0.1, one.shape)).clip(0, 1).astype(np.float32)
    tensors = [torch.from_numpy(values.transpose(2, 0, 1)[None].copy()) for values in (one, other)]
    assert float(ssim(*tensors)) == pytest.approx(runtime.image.ssim(one * 255, other * 255), abs=1e-5)
