"""``--suite gpu``: build what is missing for this machine's GPU, then say what to measure.

The suite is bounded by count: of each size 4 configurations of packages a backend and 6 of PyTorch, and one of
torch.compile in all, 31 with one backend. Opening each takes seconds and takes most of the time.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import BackendUnavailableError, EngineError
from runtime.names import FAST, PUBLISHED

from .configs import Config
from .gpus import prints_true, torch_has_gpu
from .job import TF32

GPU_LIMIT_S = 8 * 60.0  # for the measurements; building is apart
_PRECISIONS = ("fp32", "fp16")
_SIZES = ("600x400", "1920x1080", "3840x2160")
GPU_INSTEAD = 2  # steps, of a package without the sampling fast
_ROUNDS = "5"
_COMPILED = (600, 400)
# A provider that is listed may not load: only a session tells.
_ONNXRUNTIME = (
    "from runtime.doctor.probes import CONV_GRAPH; from runtime.engines.libraries import load; "
    "cuda, onnxruntime = 'CUDAExecutionProvider', load('onnxruntime', '--suite'); "
    "print(onnxruntime.InferenceSession(CONV_GRAPH, providers=[cuda]).get_providers()[0] == cuda)"
)
_TARGETS = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}  # target, which is a backend too -> module


def gpu_arguments(packages: Sequence[Path], output: Path) -> list[str]:
    """The command line of the suite. Builds packages (of the bundled checkpoint, unless ``packages`` names others)
    and engines that are not there. Raises BackendUnavailableError or EngineError."""
    from runtime.machine.gpu import current_gpu

    if current_gpu() is None:
        raise BackendUnavailableError(
            "--suite gpu: no NVIDIA GPU is visible here; `python -m runtime.doctor` says why."
        )
    targets = [target for target, module in _TARGETS.items() if importlib.util.find_spec(module) is not None]
    backends = targets[:1]
    if prints_true(_ONNXRUNTIME):
        backends.append("onnxruntime:CUDA")
    if not backends:
        raise BackendUnavailableError(
            "--suite gpu: neither TensorRT nor onnxruntime-gpu is installed; docs/engines.md says which fits here."
        )
    paths = list(packages) or [build_package(precision) for precision in _PRECISIONS]
    for path in paths if targets else []:
        build_engines(path, targets[0])
    words = [*map(str, paths), "--backend", *backends, "--size", *_SIZES, "--rounds", _ROUNDS]
    words += ["--sampling", PUBLISHED, FAST, "-o", str(output)]
    if torch_has_gpu():
        words += ["--baseline", "pytorch", "--baseline-sampling", FAST]
    return words


def takes(config: Config) -> bool:
    """Whether the suite measures this one: ``torch.compile`` compiles for minutes, at every size anew, and of fewer
    calls PyTorch's float32 and TF32 are enough to compare with."""
    if config.job.kind != "pytorch" or config.job.variant in ("eager fp32", TF32):
        return True
    published = config.job.sampling == PUBLISHED
    return published and (config.size == _COMPILED or not config.job.variant.startswith("compile"))


def build_package(precision: str) -> Path:
    """The bundled checkpoint's package in ``build/``, built if it is not there."""
    path = Path("build") / f"diffll-{precision}"
    if not path.exists():
        _command("export.build", "--precision", precision, "-o", str(path))
    return path


def build_engines(package: Path, target: str) -> None:
    """Engines for every photo up to the largest size; what is there already is kept."""
    _command("export.engine", str(package), "--target", target, "--size", "1920x1080", "--max-size", _SIZES[-1])


def _command(module: str, *words: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, *words], check=False)
    if done.returncode:
        raise EngineError(f"--suite gpu: `python -m {module} {' '.join(words)}` failed; see above.")
