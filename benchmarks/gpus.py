"""Which libraries compute on this machine's GPU. Each is asked in another process: one that has loaded CUDA would stay
in this one, with its memory."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys

from runtime.machine.gpu import current_gpu

from .process import ROOT

_TORCH = "import torch; print(torch.cuda.is_available())"


@functools.cache
def torch_has_gpu() -> bool:
    """Whether PyTorch is here and computes on an NVIDIA GPU: its build may be one for CPUs. The first call takes as
    long as PyTorch's import where there is a GPU, and no time elsewhere."""
    return current_gpu() is not None and importlib.util.find_spec("torch") is not None and prints_true(_TORCH)


def prints_true(code: str) -> bool:
    """Whether ``code`` runs and prints True."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() == "True"
