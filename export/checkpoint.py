"""A trained checkpoint -> its EMA weights and the architecture read from them.

Two layouts: the official ``.pth.tar`` (a dict whose ``ema_helper`` holds the weights that the authors' evaluation
uses) and a flat ``.safetensors``. A ``.pth.tar`` is a pickle and may come from anywhere: it is read with
``weights_only`` and an allow-list, never with a free unpickle.
"""

from __future__ import annotations

import argparse
import datetime
import pickle
import re
import types
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from runtime.errors import PackageError

from .files import check_checkpoint
from .model import Architecture, DiffLL

_WRAPPERS = re.compile(r"^(?:(?:_orig_mod|module|model)\.)+|(?<=\.)(?:_orig_mod\.|module\.)+")
"""What DataParallel, torch.compile and trainers put before a weight's name, and in it where they hold a part."""
SAMPLINGS = "samplings"
"""Key of the text beside the weights that ``Checkpoint.samplings`` has."""
_DATA = [
    *(argparse.Namespace, types.SimpleNamespace, datetime.datetime, datetime.date, datetime.timedelta, np.dtype),
    *(type(np.dtype(name)) for name in ("f8", "f4", "f2", "i8", "i4", "u1", "?")),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
"""What else may be beside the weights: numbers, dates and names, and no code."""


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one DiffLL and the file that they came from."""

    path: Path
    sha256: str
    """Of the file."""
    arch: Architecture
    weights: dict[str, Tensor]
    """Official name -> float32 tensor (EMA)."""
    samplings: str = ""
    """JSON of the samplings that it was trained for, by name, as a manifest has them; empty: none is told."""

    def model(self) -> DiffLL:
        """The PyTorch reference, in evaluation mode, with these weights (strictly all of them)."""
        with torch.device("meta"):
            model = DiffLL(self.arch)
        try:
            model.load_state_dict(self.weights, strict=True, assign=True)
        except RuntimeError as error:
            detail = " ".join(str(error).split())[:600]
            raise PackageError(f"{self.path}: its weights are not those of one whole DiffLL: {detail}") from error
        model.eval().requires_grad_(False)
        return model


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint file.

    Raises InputError when the file cannot be read, PackageError when it is damaged, wants to run code, or is not
    a DiffLL's.
    """
    path = Path(path)
    check_checkpoint(path)
    digest, size = sha256(), path.stat().st_size
    with path.open("rb") as file:
        while part := file.read(1 << 22):
            digest.update(part)
    raw, samplings = _read_safetensors(path) if path.suffix == ".safetensors" else _read_official(path)
    weights = {_WRAPPERS.sub("", name): tensor for name, tensor in raw.items()}
    if len(weights) < len(raw):
        raise PackageError(f"{path}: two of its weights have one name without the wrappers' (module., _orig_mod.).")
    try:
        arch = Architecture.from_shapes({name: tuple(tensor.shape) for name, tensor in weights.items()})
    except PackageError as error:
        raise PackageError(f"{path}: {error}") from error
    for name, tensor in weights.items():
        if not _is_plain(tensor):
            raise PackageError(
                f"{path}: the weight {name[:80]!r} is no plain array of floating-point numbers ({tensor.dtype}, "
                f"{tuple(tensor.shape)}); save the model's own weights."
            )
        size -= tensor.nbytes
        if size < 0:
            raise PackageError(
                f"{path}: its weights come to more bytes than the file has; save the model's own weights."
            )
        weights[name] = tensor.detach().float().contiguous()
        if not bool(weights[name].isfinite().all()):
            raise PackageError(f"{path}: the weight {name[:80]!r} holds NaN or infinity; take an earlier checkpoint.")
    return Checkpoint(path, digest.hexdigest(), arch, weights, samplings)


def _is_plain(tensor: Tensor) -> bool:
    """Whether every number of the tensor is in the file: not sparse, quantised, of no storage, or one repeated."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and tensor.is_floating_point()
    return bool(plain and tensor.untyped_storage().nbytes() >= tensor.nbytes)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], str]:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
        return dict(load_file(path)), told.get(SAMPLINGS, "")
    except (SafetensorError, OSError) as error:
        raise PackageError(f"{path}: not a whole .safetensors file ({error}); copy or download it again.") from error


def _read_official(path: Path) -> tuple[dict[str, Tensor], str]:
    try:
        with torch.serialization.safe_globals(_DATA):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split())
        if "GLOBAL " not in reason:  # a bad opcode: no pickle, or not one of torch.save
            raise PackageError(f"{path}: not a checkpoint of torch.save, or a damaged one.") from error
        wanted = reason.split("GLOBAL ", 1)[1].split(" ", 1)[0][:100]
        raise PackageError(
            f"{path}: refused: loading it would run code of {wanted}. An official checkpoint needs nothing but "
            "tensors, argparse.Namespace and numbers. If you trust the file, save its 'ema_helper' as .safetensors."
        ) from error
    except Exception as error:  # on damaged bytes torch.load also ends in IndexError, struct.error, AssertionError...
        reason = " ".join(str(error).split())[:200]
        raise PackageError(
            f"{path}: damaged or truncated ({path.stat().st_size:,} bytes; {reason}); copy or download it again."
        ) from error
    weights = content.get("ema_helper") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(type(k) is str and isinstance(t, Tensor) for k, t in weights.items()):
        keys = ", ".join(map(str, list(content)[:8])) if isinstance(content, dict) else type(content).__name__
        keys = " ".join(keys.split())[:200]
        raise PackageError(
            f"{path}: no EMA weights in it ('ema_helper'), which the official evaluation uses; found: {keys}. "
            "Bare weights of your own can be given as .safetensors."
        )
    samplings = content.get(SAMPLINGS, "")
    return weights, samplings if isinstance(samplings, str) else ""
