"""The graphs that a plain trace gives: static sizes, batch 1, no sampler in them, or the whole loop unrolled.

``python -m benchmarks.naive_trace CHECKPOINT WxH STEPS VARIANT FOLDER`` writes them, in a process of its own, so that
the worker that is measured never loads PyTorch.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

STAGES, UNROLLED = "stages", "unrolled"


def trace(checkpoint: str, width: int, height: int, steps: int, variant: str, folder: Path) -> None:
    """Write the graphs of ``variant`` for a padded size."""
    import torch
    from torch import Tensor, nn

    from export.checkpoint import load_checkpoint
    from export.model.diffll import NUM_TRAIN_TIMESTEPS
    from runtime.package.sampling import timesteps

    model = load_checkpoint(checkpoint).model()

    falling = timesteps(NUM_TRAIN_TIMESTEPS, steps)

    class Split(nn.Module):
        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            x_cond, details = model.split(image)
            return (x_cond, *details)

    class Merge(nn.Module):
        def forward(self, x_0: Tensor, *restored: Tensor) -> Tensor:
            return model.merge(x_0, list(restored))

    class Unrolled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Tensor, noise: Tensor) -> Tensor:
            whole: Tensor = self.model(image, noise, falling)
            return whole

    image = torch.zeros(1, 3, height, width)
    x_cond, details = model.split(image)
    if variant == UNROLLED:
        graphs: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {UNROLLED: (Unrolled(), (image, x_cond))}
    else:
        hfrms = {f"hfrm{k}": (one, (bands,)) for k, (one, bands) in enumerate(zip(model.hfrms, details, strict=True))}
        unet_inputs = (torch.cat((x_cond, x_cond), dim=1), torch.zeros(1, dtype=torch.int64))
        graphs = {"dwt": (Split(), (image,)), **hfrms}
        graphs |= {"unet": (model.Unet, unet_inputs), "idwt": (Merge(), (x_cond, *details))}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is the old one: it is what published exports used
        for name, (module, inputs) in graphs.items():
            torch.onnx.export(module.eval(), inputs, str(folder / f"{name}.onnx"), dynamo=False)


if __name__ == "__main__":
    from runtime.cli.command import photo_size

    trace(sys.argv[1], *photo_size(sys.argv[2]), int(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
