"""load_checkpoint: the EMA weights and the architecture out of every layout."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_samples import SMALL, Weights, save
from safetensors.torch import save_file

from export.checkpoint import load_checkpoint
from export.model import Architecture, DiffLL

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")


def equal(weights: Weights, wanted: Weights) -> bool:
    return weights.keys() == wanted.keys() and all(torch.equal(weights[name], wanted[name]) for name in wanted)


# --- what loads


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("prefix", ["", "module."], ids=["bare", "module."])
def test_official_layout(tmp_path: Path, content: dict[str, Any], ema: Weights, legacy: bool, prefix: str) -> None:
    shadow = {prefix + name: tensor for name, tensor in ema.items()}
    path = save(tmp_path / "model.pth.tar", content | {"ema_helper": shadow}, legacy=legacy)
    checkpoint = load_checkpoint(str(path))
    assert equal(checkpoint.weights, ema)
    raw = {name.removeprefix("module."): tensor for name, tensor in content["state_dict"].items()}
    assert raw.keys() == ema.keys()
    assert not any(torch.equal(checkpoint.weights[name], raw[name]) for name in raw)
    assert checkpoint.path == path
    assert checkpoint.sha256 == sha256(path.read_bytes()).hexdigest()
    assert checkpoint.arch == Architecture(ch=32, num_res_blocks=1, hfrm_channels=8, **SMALL)


@pytest.mark.parametrize("suffix", [".pth.tar", ".pth", ".pt"])
def test_suffixes(tmp_path: Path, ema: Weights, suffix: str) -> None:
    assert equal(load_checkpoint(save(tmp_path / f"m{suffix}", {"ema_helper": ema})).weights, ema)


def test_the_model_has_the_weights_and_is_for_evaluation(official: Path, ema: Weights) -> None:
    model = load_checkpoint(official).model()
    assert equal(model.state_dict(), ema)
    assert not model.training
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in model.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_parameters_and_strides_do_not_matter(tmp_path: Path, ema: Weights) -> None:
    """Official EMA shadows are plain tensors; parameters, views and channels-last ones hold the same numbers."""
    other: Weights = {}
    for number, (name, tensor) in enumerate(ema.items()):
        if number % 3 == 0:
            other[name] = torch.nn.Parameter(tensor.clone())
        elif tensor.ndim == 4:
            other[name] = tensor.clone(memory_format=torch.channels_last)
        else:
            other[name] = torch.cat((tensor, tensor))[: len(tensor)]
    checkpoint = load_checkpoint(save(tmp_path / "m.pth", {"ema_helper": other}))
    assert equal(checkpoint.weights, ema)
    assert not any(type(t) is torch.nn.Parameter or t.requires_grad for t in checkpoint.weights.values())
    assert all(tensor.is_contiguous() for tensor in checkpoint.weights.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("prefix", ["", "module."], ids=["bare", "module."])
def test_safetensors(tmp_path: Path, ema: Weights, dtype: torch.dtype, prefix: str) -> None:
    path = tmp_path / "m.safetensors"
    save_file({prefix + name: tensor.to(dtype) for name, tensor in ema.items()}, path)
    checkpoint = load_checkpoint(path)
    assert equal(checkpoint.weights, {name: tensor.to(dtype).float() for name, tensor in ema.items()})
    assert all(tensor.dtype == torch.float32 for tensor in checkpoint.weights.values())
    checkpoint.model()


def test_half_precision_official(tmp_path: Path, ema: Weights) -> None:
    half = {name: tensor.half() for name, tensor in ema.items()}
    checkpoint = load_checkpoint(save(tmp_path / "m.pth", {"ema_helper": half}))
    assert equal(checkpoint.weights, {name: tensor.float() for name, tensor in half.items()})


# --- the architecture


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_levels_from_a_file(make_checkpoint: Callable[..., Path], levels: int) -> None:
    path = make_checkpoint(ch_mult=(1, 1), attention_levels=(1,), levels=levels)
    checkpoint = load_checkpoint(path)
    assert checkpoint.arch.levels == levels
    assert checkpoint.arch.pad_multiple == 2 * 2**levels
    assert len(checkpoint.model().hfrms) == levels


ARCHITECTURES = {
    "official": Architecture(),
    "one HFRM": Architecture(levels=1),
    "three HFRMs": Architecture(levels=3),
    "one UNet level": Architecture(ch_mult=(1,), attention_levels=()),
    "five UNet levels": Architecture(ch=32, ch_mult=(1, 1, 2, 2, 3), attention_levels=(3, 4)),
    "wide first level": Architecture(ch_mult=(2, 2), attention_levels=(0,)),
    "falling widths": Architecture(ch=32, ch_mult=(4, 1, 3), attention_levels=(0, 2)),
    "no attention": Architecture(attention_levels=()),
    "attention everywhere": Architecture(attention_levels=(0, 1, 2, 3)),
    "one block": Architecture(num_res_blocks=1),
    "twelve blocks": Architecture(ch=32, ch_mult=(1,), attention_levels=(), num_res_blocks=12),
    "wide": Architecture(ch=96, ch_mult=(1, 2), attention_levels=(1,), hfrm_channels=24),
    "narrow HFRM": Architecture(hfrm_channels=8),
}


@pytest.mark.parametrize("arch", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_architecture_from_shapes(arch: Architecture) -> None:
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in DiffLL(arch).state_dict().items()}
    assert Architecture.from_shapes(shapes) == arch


def test_sizes_of_the_official_network() -> None:
    assert Architecture().unet_multiple == 8
    assert Architecture().pad_multiple == 32
    assert Architecture(levels=3, ch_mult=(1, 2)).pad_multiple == 16
