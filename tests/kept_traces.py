"""Traces of networks, kept by their content: tracing takes half a minute and always gives the same bytes.

As a program, ``kept_traces.py FOLDER ARGUMENT...`` is ``python -m export.build ARGUMENT...`` with FOLDER's traces.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.tracing.graphs import StageGraph

ROOT = Path(__file__).parent.parent
UNUSED_DAYS = 14


@cache
def tracer() -> bytes:
    """The sources and libraries that a trace depends on."""
    digest = sha256(repr([version(name) for name in ("torch", "onnx", "onnxscript", "onnx_ir")]).encode())
    for source in sorted([*ROOT.glob("export/tracing/*.py"), *ROOT.glob("export/model/*.py")]):
        digest.update(source.read_bytes())
    return digest.digest()


def key(stage: StageGraph, pad_multiple: int) -> str:
    """All that a trace is made of: the tracer, the stage's tensors, its modules' settings and weights."""
    import torch

    digest = sha256(tracer())
    shapes = [spec.resolve(2, 3 * pad_multiple, 4 * pad_multiple) for spec in (*stage.inputs, *stage.outputs)]
    digest.update(repr((stage, pad_multiple, shapes)).encode())
    for name, module in stage.module.named_modules():
        settings = {name: value for name, value in vars(module).items() if not name.startswith("_")}
        digest.update(f"{name} {sorted(settings.items())}".encode())
    for name, tensor in stage.module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def kept(folder: Path, trace: Callable[[StageGraph, int], bytes]) -> Callable[[StageGraph, int], bytes]:
    """``trace``, but what lies in ``folder`` is taken from there; safe for several processes at once."""

    def take(stage: StageGraph, pad_multiple: int) -> bytes:
        path = folder / f"{key(stage, pad_multiple)}.onnx"
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                forget_old(folder)
                work = path.with_suffix(".part")
                work.write_bytes(trace(stage, pad_multiple))
                work.replace(path)
            os.utime(path)
            return path.read_bytes()

    return take


def forget_old(folder: Path) -> None:
    for path in folder.glob("*.onnx"):
        if time.time() - path.stat().st_mtime > UNUSED_DAYS * 86400:
            path.unlink(missing_ok=True)


@contextmanager
def builds_keep_traces(folder: Path) -> Iterator[None]:
    """``export.assemble``, and so ``export.build``, traces through ``kept``."""
    import export.assemble

    trace = export.assemble.trace
    export.assemble.trace = kept(folder, trace)
    try:
        yield
    finally:
        export.assemble.trace = trace


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    from export.build import main
    from runtime.cli.command import run_command

    with builds_keep_traces(Path(sys.argv.pop(1))):
        run_command(main)
