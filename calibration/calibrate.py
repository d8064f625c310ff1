"""The whole of it: collect, quantise, find what has to stay in float, certify, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from runtime.package import Package
from runtime.package_writer import check_destination, package_folder
from runtime.progress import Progress

from .collect import collect, empty
from .layers import Layer, find_layers, load_graph
from .observe import Observed
from .photos import choose
from .quantise import quantise
from .result import Result
from .search import Key, back_to_float
from .sensitivity import measure
from .state import State, state_key
from .thresholds import threshold
from .variants import Judge, psnr
from .write import write_package

_PIECES = 4  # photos from which the cost of each layer is measured
_PADDINGS = 2  # a photo to calibrate with has sides of at least so many paddings


def calibrate(
    package: Package,
    photos: Sequence[Path],
    output: Path,
    *,
    method: str = "percentile",
    samples: int = 16,
    budget_db: float = 40.0,
    overwrite: bool = False,
    progress: Progress,
) -> None:
    """Write the int8 package of the fp32 ``package`` to the directory ``output``.

    Killed, it goes on after the last whole photo when it is called again with the same package and photos; what
    comes out is the same, byte for byte. Raises InputError, PackageError or EngineError; then ``output`` is as before.
    """
    check_destination(output, overwrite)
    smallest = _PADDINGS * package.manifest.pad_multiple
    calibrated, unseen = choose(photos, samples, smallest)
    models = {stage.name: load_graph(package.read(stage.file)) for stage in package.manifest.stages}
    layers = _layers(models)
    tensors = {stage: observed.tensors for stage, observed in empty(package, layers).items()}
    state = State(output, state_key(package.sha256, [one.sha256 for one in calibrated], tensors))
    observed = collect(package, models, layers, calibrated, smallest, state, progress)
    with progress.task(f"choosing ranges ({method})"):
        limits = {stage: _limits(one, method) for stage, one in observed.items()}
    some = calibrated[:: max(1, len(calibrated) // _PIECES)][:_PIECES]
    sensitivity = measure(package, models, layers, limits, [one.pixels(smallest) for one in some], progress)
    photos_unseen = [source.pixels(smallest) for source in unseen]
    with progress.task(f"{len(unseen)} unseen photos in fp32"):
        judge = Judge(package, photos_unseen)
    graphs: dict[str, bytes] = {}
    errors: list[float] = []

    def measured(float_layers: Sequence[Key]) -> float:
        nonlocal errors
        for stage, found in layers.items():
            chosen = [layer for layer in found if (stage, layer.name) not in float_layers]
            graphs[stage] = quantise(models[stage], chosen, limits[stage])
        with progress.task(f"{len(unseen)} unseen photos with {len(float_layers)} layers in float"):
            errors = judge.errors(graphs)
        progress.note(f"PSNR against fp32: {', '.join(f'{psnr(error):.2f}' for error in errors)} dB")
        return max(errors)

    float_layers = back_to_float(sensitivity.layers, budget_db, measured)
    judge.close()
    result = Result(
        method=method,
        budget_db=budget_db,
        calibrated=calibrated,
        unseen=unseen,
        sizes=[(pixels.shape[1], pixels.shape[0]) for pixels in photos_unseen],
        layers=layers,
        observed=observed,
        limits=limits,
        sensitivity=sensitivity,
        float_layers=float_layers,
        errors=errors,
    )
    with package_folder(output, overwrite) as work:
        write_package(work, package, graphs, result)
    state.remove()
    count = sum(len(found) for found in layers.values())
    progress.note(f"{count - len(float_layers)} of {count} layers in int8; PSNR at least {psnr(max(errors)):.2f} dB")


def _layers(models: Mapping[str, onnx.ModelProto]) -> dict[str, list[Layer]]:
    """Stage -> its layers, of the stages that have any.

    The queries and keys of an HFRM are summed over the image's width in its attention: they would be calibrated for one
    width and used at another, so they stay in float there.
    """
    found = {stage: find_layers(model, attention=stage == "denoiser") for stage, model in models.items()}
    return {stage: layers for stage, layers in found.items() if layers}


def _limits(observed: Observed, method: str) -> dict[str, float]:
    limits = {}
    for name in observed.tensors:
        low, high = observed.extremes(name)
        counts, width = observed.histogram(name)
        limits[name] = threshold(method, counts, width, max(-low, high))
    return limits
