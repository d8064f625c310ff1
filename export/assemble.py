"""The content of a package: what ``export.build`` puts in place once it is whole."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import runtime
from runtime.cli.progress import Progress
from runtime.names import LOOP, PUBLISHED, Precision
from runtime.package.manifest import CERTIFICATE, GOLDEN, Manifest, Stage
from runtime.package.sampling import Sampling
from runtime.package.writing import write_manifest

from .certificate.cases import cases, golden_photo
from .certificate.certify import certify, reference
from .checkpoint import Checkpoint
from .cost.fit import stage_cost
from .files import bundled_checkpoint
from .model import DiffLL
from .model.diffll import NUM_INFERENCE_STEPS, NUM_TRAIN_TIMESTEPS, schedule
from .passes.cpu_forms import cpu_forms
from .passes.query_blocks import query_blocks
from .tracing.graphs import stage_graphs
from .tracing.trace import trace


def write_package(
    work: Path, checkpoint: Checkpoint, precision: Precision, progress: Progress, samplings: Iterable[Sampling] = ()
) -> None:
    """Write graphs, manifest, golden sample and certificate of ``checkpoint`` into the empty folder ``work``.
    samplings: beside the published one.

    Raises CertificateError when the graphs do not do what the model does.
    """
    model = checkpoint.model()
    stages, cost = [], {}
    for graph in stage_graphs(model, precision):
        with progress.task(f"tracing {graph.name}"):
            content = cpu_forms(trace(graph, model.arch.pad_multiple))
            if graph.name == LOOP:
                content = query_blocks(content)
            stage = Stage(graph.name, f"{graph.name}.onnx", graph.inputs, graph.outputs)
            (work / stage.file).write_bytes(content)
            cost[stage.name] = stage_cost(content, stage, model.arch.pad_multiple, stage.file)
        stages.append(stage)
    betas, alphas_cumprod = (tuple(values.tolist()) for values in schedule())
    manifest = Manifest(
        precision=precision,
        levels=model.arch.levels,
        pad_multiple=model.arch.pad_multiple,
        num_train_timesteps=NUM_TRAIN_TIMESTEPS,
        num_inference_steps=NUM_INFERENCE_STEPS,
        betas=betas,
        alphas_cumprod=alphas_cumprod,
        stages=tuple(stages),
        cost=cost,
        files={},
        provenance=_provenance(checkpoint),
        more_samplings=tuple(samplings),
    )
    (work / GOLDEN).write_bytes(_golden(model, manifest))
    (work / CERTIFICATE).write_text("{}\n")
    write_manifest(work, manifest)
    with progress.task("comparing with the PyTorch model"):
        certificate = certify(work, model, cases(precision))
    (work / CERTIFICATE).write_text(json.dumps(certificate, indent=1) + "\n")
    write_manifest(work, manifest)
    worst = min(record["psnr_db"] for record in certificate["end_to_end"])
    levels = max(record["grey_levels"] for record in certificate["end_to_end"])
    progress.note(f"certified: at most {levels:.3f} grey levels, PSNR at least {worst} dB")


def _provenance(checkpoint: Checkpoint) -> dict[str, Any]:
    bundled = checkpoint.path == bundled_checkpoint()
    return {
        "checkpoint": checkpoint.path.name,
        "checkpoint_sha256": checkpoint.sha256,
        "architecture": {key: list(v) if isinstance(v, tuple) else v for key, v in vars(checkpoint.arch).items()},
        "licence": "MIT, see assets/README.md of diffll-deploy" if bundled else "that of the checkpoint",
        "made_by": f"diffll-deploy {runtime.__version__}",
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")},
    }


def _golden(model: DiffLL, manifest: Manifest) -> bytes:
    """The golden sample: a small photo, noise, and what the PyTorch model makes of them."""
    photo = golden_photo()
    height, width = photo.shape[:2]
    noise = np.random.default_rng(7).standard_normal(manifest.noise_shape(height, width), np.float32)
    expected = reference(model, photo[None], noise[None], manifest.samplings[PUBLISHED])[0]
    content = io.BytesIO()
    np.savez(content, photo=photo, noise=noise, steps=np.int32(NUM_INFERENCE_STEPS), expected=expected)
    return content.getvalue()
