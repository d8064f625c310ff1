import json

import pytest
from conftest import scene
from PIL import Image

from export.checkpoint import load_checkpoint
from training.cli import main


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    for part, gain in (("low", 0.1), ("high", 1.0)):
        (folder / part).mkdir()
        Image.fromarray((scene(9, 50, 70) * gain).astype("uint8")).save(folder / part / "a.png")
    return folder


def test_a_few_iterations_leave_a_checkpoint_a_log_and_pictures(photos, pairs, make_checkpoint, tmp_path):
    output = tmp_path / "mine.pth.tar"
    words = [photos, "-o", output, "--darken", "--init", make_checkpoint(), "--timesteps", "80,40", "60"]
    words += ["--iterations", 3, "--batch", 1, "--patch", 64, "--workers", 1, "--evaluate", pairs, "--device", "cpu"]
    assert main([str(word) for word in words]) == 0
    trained, start = load_checkpoint(output), load_checkpoint(words[5])
    assert trained.arch == start.arch
    assert any((trained.weights[name] != value).any() for name, value in start.weights.items())
    lines = [json.loads(line) for line in (tmp_path / "mine-training" / "log.jsonl").read_text().splitlines()]
    evaluated = [(line["iteration"], line["sampling"]) for line in lines if line["kind"] == "evaluation"]
    assert evaluated == [(n, name) for n in (0, 3) for name in ("published, 10 calls", "fast", "fast-1")]
    assert Image.open(tmp_path / "mine-training" / "samples-000003.jpg").size == (900, 200)
