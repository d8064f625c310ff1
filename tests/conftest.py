"""Small models, seeded: a checkpoint in the official layout and the packages built from it, once a session."""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """make_checkpoint(levels=2, ...) -> a small random DiffLL in the official layout, EMA different from raw."""
    import torch

    from export.model import Architecture, DiffLL

    def make(seed: int = 0, *, name: str = "tiny.pth.tar", prefix: str = "module.", **arch: object) -> Path:
        shape = {"ch": 32, "ch_mult": (1, 2), "num_res_blocks": 1, "attention_levels": (1,)} | arch
        shape = {"hfrm_channels": 8, "levels": 2} | shape
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            raw = DiffLL(Architecture(**shape)).state_dict()  # type: ignore[arg-type]
            ema = {key: value + 0.02 * torch.randn_like(value) for key, value in raw.items()}
        path = tmp_path_factory.mktemp("checkpoint") / name
        config = argparse.Namespace(device=torch.device("cpu"), model=argparse.Namespace(ch=shape["ch"]))
        torch.save(
            {
                "step": 1,
                "state_dict": {prefix + key: value for key, value in raw.items()},
                "ema_helper": ema,
                "params": argparse.Namespace(sampling_timesteps=10),
                "config": config,
            },
            path,
        )
        return path

    return make


@pytest.fixture(scope="session")
def build_package(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """build_package(checkpoint) -> its package, silently."""
    from export.build import build
    from export.checkpoint import load_checkpoint
    from export.progress import Progress

    def make(checkpoint: Path, precision: str = "fp32") -> Path:
        output = tmp_path_factory.mktemp("package") / f"{checkpoint.name.split('.')[0]}-{precision}"
        return build(load_checkpoint(checkpoint), output, precision, progress=Progress(io.StringIO()))

    return make


@pytest.fixture(scope="session")
def tiny_package(make_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random network's package, built by the command: two wavelet levels, padding to multiples of 8. Never
    change it: copy it first."""
    output = tmp_path_factory.mktemp("package") / "tiny-fp32"
    command = [sys.executable, "-m", "export.build", str(make_checkpoint()), "-o", str(output)]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{output}\n"
    assert "certified: at most 0." in done.stderr
    return output


@pytest.fixture(scope="session")
def bundled_package(build_package: Callable[..., Path]) -> Path:
    """The package of the bundled checkpoint. Never change it: copy it first."""
    from export.samples import bundled_checkpoint

    return build_package(bundled_checkpoint())
