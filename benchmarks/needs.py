"""How much memory a configuration needs for a photo that runs whole: what the runtime's plan predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.planning.traits import Traits

if TYPE_CHECKING:
    from runtime.enhancer import Enhancer
    from runtime.package.manifest import Manifest

    from .configs import Config

_UNBOUNDED = 1 << 60  # bytes: what a photo takes is asked here, not whether it fits
_LIBRARIES = {"pytorch": 700 << 20, "naive-onnx": 300 << 20}  # the interpreter and the libraries, before any weight
# Both make all scores of an attention at once. Each plain session has an arena of its own, which only grows.
_TRAITS = {
    "pytorch": Traits(live=0.0, live_rest=1.0, weights=0.0, live_plain=1.0),
    "naive-onnx": Traits(live=0.0, live_rest=1.0, weights=0.0, live_plain=1.0, keeps="all"),
}


def package_bytes(enhancer: Enhancer, width: int, height: int) -> int:
    """Of the process that has opened the package with its backend, for a photo of this size; of the device where the
    engine's memory is not the host's: the weights, the largest stage's scratch memory, and the photo's buffers."""
    from runtime.enhancer import Enhancer

    plan = Enhancer(enhancer.package, enhancer.backend, _UNBOUNDED).plan(width, height, kind="whole")
    if not enhancer.backend.traits.device:
        return plan.peak_bytes
    return _weights(enhancer.manifest) + max(plan.stage_bytes.values()) + plan.photo_bytes


def baseline_bytes(config: Config) -> int:
    """Of a baseline's process, by the costs of the package that was built from its checkpoint."""
    from runtime.planning.decide import Planner
    from runtime.planning.request import Memory, Request

    manifest, (width, height) = config.package.manifest, config.size
    base = _LIBRARIES[config.job.kind] + _weights(manifest)
    request = Request(height, width, config.job.steps, kind="whole")
    return Planner(manifest, _TRAITS[config.job.kind]).decide(request, Memory(base, None)).peak_bytes


def _weights(manifest: Manifest) -> int:
    return sum(cost.weight_bytes for cost in manifest.cost.values())
