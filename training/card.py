"""The card of a checkpoint: what it was trained on, how, where, and how good it is. Markdown beside it."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import runtime
from export.files import suffix_of
from runtime.machine.files import write_file
from runtime.machine.host import describe

from .options import Options

_GOALS = {
    "references": "dark photos with their references",
    "darkened": "bright photos, darkened as a camera would (`training/darken.py`)",
    "teacher": "dark photos; the goal was the published picture of the network that the training started from",
}


@dataclass(frozen=True)
class Score:
    """On the pairs of ``--evaluate``."""

    iteration: int
    sampling: str
    psnr_db: float
    ssim: float


def card_of(output: Path) -> Path:
    return output.with_name(output.name.removesuffix(suffix_of(output)) + ".md")


def write_card(options: Options, photos: int, iterations: int, seconds: float, scores: list[Score]) -> None:
    """Beside ``options.output``, which is there already. Raises OSError."""
    machine, output = describe(), options.output
    where = f"{options.device} on {machine['processor'] or machine['platform']}"
    start = f"`{options.init}`" if options.init else f"a new network of width {options.width}"
    samplings = "; ".join(f"`{one.name}` {', '.join(map(str, one.timesteps))} from zero" for one in options.trained)
    rows = {
        "weights": f"EMA, sha256 `{sha256(output.read_bytes()).hexdigest()}`",
        "started from": start,
        "trained on": f"{photos} photos of `{options.photos}`: {_GOALS[options.goal]}",
        "samplings": samplings or "`published` alone",
        "training": f"{iterations} iterations of {options.batch} patches of {options.patch} pixels (before that three "
        f"times as many of {options.patch // 2}), {seconds / 60:.1f} minutes, {options.precision}",
        "machine": f"{where}, torch {version('torch')}",
        "command": f"`python -m training {shlex.join(sys.argv[1:])}`",
        "made by": f"diffll-deploy {runtime.__version__}",
        "licence": "the terms of the photos hold for what is trained on them: name them here",
    }
    text = [f"# {output.name}", "", "| | |", "|---|---|"]
    text += [f"| {name} | {value} |" for name, value in rows.items()]
    if scores:
        text += ["", f"On the pairs of `{options.evaluate}`, which were not trained on, references as they are:", ""]
        text += ["| iteration | sampling | PSNR (dB) | SSIM |", "|---|---|---|---|"]
        text += [f"| {one.iteration} | {one.sampling} | {one.psnr_db:.2f} | {one.ssim:.3f} |" for one in scores]
    with write_file(card_of(output), overwrite=True) as file:
        file.write("\n".join([*text, ""]).encode())
