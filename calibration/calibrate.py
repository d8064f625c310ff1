"""The whole of it: collect, quantise, find what has to stay in float, certify, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from runtime.cli.progress import Progress
from runtime.image import decibels
from runtime.package.reading import Package
from runtime.package.writing import check_output, package_folder

from .assemble import assemble
from .collect import collect, empty
from .layers import Layer, find_layers, load_graph
from .names import DEFAULT_BUDGET_DB, DEFAULT_METHOD, DEFAULT_SAMPLES, Method
from .photos import choose, distinct, few_unseen
from .result import Result
from .search import back_to_float
from .sensitivity import measure
from .state import State, state_key
from .thresholds import threshold
from .trials import Trials
from .variants import Judge

_PIECE = 96, 128  # height and width of the pieces on which the cost of each layer is measured
_PADDINGS = 2  # a photo to calibrate with has sides of at least so many paddings


def calibrate(
    package: Package,
    photos: Sequence[Path],
    output: Path,
    *,
    method: Method = DEFAULT_METHOD,
    samples: int = DEFAULT_SAMPLES,
    budget_db: float = DEFAULT_BUDGET_DB,
    overwrite: bool = False,
    progress: Progress,
) -> None:
    """Write the int8 package of the fp32 ``package`` to the directory ``output``.

    Killed, it goes on after the last whole photo when it is called again with the same package and photos; what
    comes out is the same, byte for byte. Raises InputError, PackageError or EngineError; then ``output`` is as before.
    """
    check_output(output, overwrite)
    smallest = _PADDINGS * package.manifest.pad_multiple
    calibrated, unseen = choose(photos, samples, smallest)
    if few := few_unseen(len(unseen), len(distinct(photos))):
        progress.note(few)
    models = {stage.name: load_graph(package.graph(stage.name)) for stage in package.manifest.stages}
    layers = _layers(models)
    tensors = {stage: observed.tensors for stage, observed in empty(package, layers).items()}
    state = State(output, state_key(package.sha256, [one.sha256 for one in calibrated], tensors))
    observed = collect(package, models, layers, calibrated, smallest, state, progress)
    with progress.task(f"choosing ranges ({method})"):
        limits = {
            stage: {name: threshold(method, seen, name) for name in seen.tensors} for stage, seen in observed.items()
        }
    compared = [source.pixels(smallest) for source in unseen]
    with progress.task("unseen photos in fp32"):
        judge = Judge(package, compared)
    trials = Trials(judge, models, layers, limits, progress)
    pieces = judge.worst_pieces(trials(()).pictures, *_PIECE)
    sensitivity = measure(package, models, layers, limits, pieces, progress)
    float_layers = back_to_float(sensitivity.layers, budget_db, trials.worst_error)
    chosen = trials(float_layers)
    judge.close()
    result = Result(
        method=method,
        budget_db=budget_db,
        calibrated=calibrated,
        unseen=unseen,
        sizes=[(pixels.shape[1], pixels.shape[0]) for pixels in compared],
        layers=layers,
        observed=observed,
        limits=limits,
        sensitivity=sensitivity,
        float_layers=float_layers,
        errors=chosen.errors,
    )
    with package_folder(output, overwrite) as work:
        assemble(work, package, chosen.graphs, result)
    state.remove()
    count = sum(len(found) for found in layers.values())
    worst = decibels(chosen.worst_error)
    progress.note(
        f"{count - len(float_layers)} of {count} layers in int8; PSNR on {len(unseen)} unseen photo(s) at least "
        f"{worst:.2f} dB"
    )


def _layers(models: Mapping[str, onnx.ModelProto]) -> dict[str, list[Layer]]:
    """Stage -> its layers, of the stages that have any.

    The queries and keys of an HFRM are summed over the image's width in its attention: they would be calibrated for one
    width and used at another, so they stay in float there.
    """
    found = {stage: find_layers(model, attention=stage == "denoiser") for stage, model in models.items()}
    return {stage: layers for stage, layers in found.items() if layers}
