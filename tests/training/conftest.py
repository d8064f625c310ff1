"""Photos to train on, made here: shapes and colours of every brightness."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from scenes import scene

from training.cli import main


@pytest.fixture(scope="session")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six bright photos, 112x96. Never change it."""
    folder = tmp_path_factory.mktemp("bright")
    for seed in range(6):
        Image.fromarray(scene(seed)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """low/ and high/ of one photo, 70x50. Never change it."""
    folder = tmp_path_factory.mktemp("pairs")
    for part, gain in (("low", 0.1), ("high", 1.0)):
        (folder / part).mkdir()
        Image.fromarray((scene(9, 50, 70) * gain).astype("uint8")).save(folder / part / "a.png")
    return folder


@pytest.fixture(scope="session")
def small(make_checkpoint: Callable[..., Path]) -> Path:
    """A small network to start from."""
    return make_checkpoint(7, name="start.pth.tar")


@pytest.fixture
def train(small: Path, tmp_path: Path) -> Callable[..., Path]:
    """train(photos, "--darken", ...) -> the checkpoint of a few iterations from ``small``."""

    def run(photos: Path, *words: object, name: str = "mine.pth.tar", iterations: int = 3) -> Path:
        output = tmp_path / name
        given = [photos, "-o", output, "--init", small, "--iterations", iterations, "--batch", 1, "--patch", 32]
        given += ["--workers", 0, "--device", "cpu", "--precision", "fp32", *words]
        assert main([str(word) for word in given]) == 0
        return output

    return run
