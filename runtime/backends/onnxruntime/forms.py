"""The engines of the target ``cuda``: the denoiser's graph in the form that the CUDA provider runs fastest."""

from __future__ import annotations

import onnxruntime as ort

from ...engines.cache import GRAPH
from ...engines.entry import Engine
from ...engines.fit import Machine, usable
from ...engines.refusal import build_command
from ...names import CUDA_PRECISIONS, LOOP
from ...package.guard import FUSED, check_graph, check_stage
from ...package.manifest import Manifest
from ...package.reading import Package


def cuda_engine(package: Package) -> tuple[Engine | None, str]:
    """The newest that fits here; or None, and a sentence that says so where one can be built."""
    fitting, others = usable(package, LOOP, "cuda", Machine({"cuda": ort.__version__}))
    if fitting:
        return fitting[0], ""
    if package.manifest.precision not in CUDA_PRECISIONS:
        return None, ""
    found = f" ({'; '.join(others[:3])})" if others else ""
    slow = f"the {LOOP} runs in the form for CPUs, as no cuda engine of it fits this machine{found}"
    return None, f"{slow}; `{build_command(package.path, 'cuda')}` builds one"


def engine_graph(engine: Engine, manifest: Manifest) -> bytes:
    """Its graph, held against what a package's may hold, and one operator more. Raises EngineError and PackageError."""
    content, where = engine.read(GRAPH), str(engine.path / GRAPH)
    check_graph(content, where, FUSED)
    check_stage(content, where, manifest.stage(LOOP), manifest, FUSED)
    return content
