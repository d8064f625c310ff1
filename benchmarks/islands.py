"""``python -m benchmarks.islands``: what each float32 island of a half-precision network is for, measured.

Every stage runs in PyTorch in half precision; one island after another is put in half precision too. PSNR is against
the float32 network with the same noise, before rounding, on the cases that packages are certified on.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from runtime.cli.command import Parser, run_command


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.islands",
        description="Measure what each float32 island of export/tracing/precision.py is for.",
        examples=("%(prog)s",),
    )
    parser.add_argument("checkpoint", nargs="?", type=Path, metavar="CHECKPOINT", help="default: the bundled one")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)

    from export.files import bundled_checkpoint, check_checkpoint

    checkpoint = args.checkpoint or bundled_checkpoint()
    check_checkpoint(checkpoint)  # a mistake is told before PyTorch is loaded

    import numpy as np
    import torch

    from export.certificate.cases import cases
    from export.checkpoint import load_checkpoint
    from export.tracing.precision import ISLANDS
    from runtime.image import psnr, to_tensor

    model = load_checkpoint(checkpoint).model()
    chosen = [case for case in cases("fp16") if len(case.photos) == 1][-2:]  # the largest crop, the wide strip
    samples = []
    with torch.inference_mode():
        for case in chosen:
            image = torch.from_numpy(to_tensor(case.photos, model.arch.pad_multiple))
            x_cond, details = model.split(image)
            noise = torch.from_numpy(np.random.default_rng(case.seed).standard_normal(x_cond.shape, np.float32))
            logits = max(_largest_logit(hfrm, band) for hfrm, band in zip(model.hfrms, details, strict=True))
            samples.append((image, noise, model(image, noise).numpy(), logits, model.hfrms[0](details[0]).numpy()))
    sizes = [f"{case.photos.shape[2]}x{case.photos.shape[1]}" for case in chosen]
    for size, (_, _, _, logits, _) in zip(sizes, samples, strict=True):
        print(f"largest HFRM logit at {size}: {logits:.0f}")
    titles = [f"{what} at {size} (dB)" for size in sizes for what in ("PSNR", "of hfrm0 alone")]
    print("| in half precision too | precision | " + " | ".join(titles) + " |")
    print("|---|---|" + "---|" * len(titles))
    for precision in ("fp16", "bf16"):
        for name in ("nothing", *ISLANDS, "everything"):
            islands = set() if name == "everything" else ISLANDS.keys() - {name}
            scores = []
            with torch.inference_mode():
                for image, noise, reference, _, reference0 in samples:
                    result, restored0 = _run(model, precision, islands, image, noise)
                    for expected, found, peak in (
                        (reference, result, 1.0),
                        (reference0, restored0, np.ptp(reference0)),
                    ):
                        scores.append(f"{psnr(expected, found, peak):.2f}" if np.isfinite(found).all() else "NaN")
            print(f"| {name} | {precision} | {' | '.join(scores)} |", flush=True)
    return 0


def _run(model: Any, precision: Any, islands: Collection[str], image: Any, noise: Any) -> tuple[Any, Any]:
    """The stages as they are traced, in eager mode, with the runtime's DDIM table: the picture, hfrm0's result."""
    import torch

    from export.model.diffll import schedule
    from export.tracing.graphs import stage_graphs
    from runtime.sampler import evenly_spaced, make_table

    stages = {stage.name: stage.module for stage in stage_graphs(model, precision, islands)}
    x_cond, *details = stages["dwt"](image)
    restored = [stages[f"hfrm{level}"](bands) for level, bands in enumerate(details)]
    x = history = noise
    table = make_table(schedule()[1].numpy(), evenly_spaced(schedule()[1].numpy(), 10))
    for timestep, coefficients in zip(table.timesteps, table.coefficients, strict=True):
        row = torch.tensor([int(timestep)], dtype=torch.int32)
        x, history = stages["denoiser"](x, x_cond, history, row, torch.from_numpy(coefficients))
    return stages["idwt"](x.float(), *restored).numpy(), restored[0].float().numpy()


def _largest_logit(hfrm: Any, details: Any) -> float:
    import torch

    hl, lh, hh = (hfrm.conv_head(band) for band in details.chunk(3, dim=1))
    largest = 0.0
    for attention, band in ((hfrm.cross_attention0, lh), (hfrm.cross_attention1, hl)):
        query, key = attention.query(band).permute(0, 2, 1, 3), attention.key(hh).permute(0, 2, 3, 1)
        largest = max(largest, float((torch.matmul(query, key) * attention.scale).abs().max()))
    return largest


if __name__ == "__main__":
    run_command(main)
