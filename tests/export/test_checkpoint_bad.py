"""load_checkpoint: one clear error out of all that is no whole DiffLL checkpoint, and no code run."""

from __future__ import annotations

import builtins
import os
import pickle
import random
from argparse import Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_samples import Weights, save
from safetensors.torch import save_file
from torch import Tensor

from export.checkpoint import load_checkpoint
from runtime.errors import DiffLLError, InputError, PackageError

CONV_IN, HEAD, DOWN = (
    "Unet.conv_in.weight",
    "high_enhance0.conv_head.point_conv.weight",
    "Unet.down.0.block.0.conv1.weight",
)
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")


def refuse(path: Path, *words: str, kind: type[DiffLLError] = PackageError, whole: bool = False) -> str:
    """The message of the error, which is one line and names the file. whole: building the model may be what fails."""
    with pytest.raises(kind) as caught:  # noqa: PT012
        checkpoint = load_checkpoint(path)
        assert whole, "it loads"
        checkpoint.model()
    message = str(caught.value)
    for word in (str(path), *words):
        assert word in message, f"{word!r} is not in {message!r}"
    assert "\n" not in message
    assert len(message) < 1200
    assert type(caught.value) is kind
    return message


# --- another model, or not all of one


@pytest.fixture(scope="module")
def another() -> Weights:
    """A classifier's, with the integer buffer of a batch norm."""
    layers = torch.nn.ModuleDict(
        {"conv1": torch.nn.Conv2d(3, 8, 7), "bn1": torch.nn.BatchNorm2d(8), "fc": torch.nn.Linear(8, 5)}
    )
    return layers.state_dict()


def test_another_model(tmp_path: Path, another: Weights) -> None:
    save_file(another, tmp_path / "m.safetensors")
    for path in (save(tmp_path / "m.pth", {"ema_helper": another}), tmp_path / "m.safetensors"):
        refuse(path, "not a DiffLL", "Unet.conv_in.weight is missing", "bn1.bias", f"{len(another)} weights")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_no_ema_weights(tmp_path: Path, content: dict[str, Any], another: Weights, ema: Weights, legacy: bool) -> None:
    cases: list[tuple[Any, str]] = [
        ({key: value for key, value in content.items() if key != "ema_helper"}, "state_dict"),
        (another, "conv1.weight"),
        (ema, "high_enhance0"),
        ({}, ""),
        (list(ema.values()), "list"),
        (ema[CONV_IN], "Tensor"),
        ("text", "str"),
        (None, "NoneType"),
        (content["config"], "Namespace"),
        ({"ema_helper": None}, "ema_helper"),
        ({"ema_helper": list(ema.values())}, "ema_helper"),
        ({"ema_helper": ema | {"decay": 0.999}}, "ema_helper"),
        ({"ema_helper": dict(enumerate(ema.values()))}, "ema_helper"),
        ({"a\nb" * 999: 1, ema[CONV_IN]: 2}, "a b"),
    ]
    for number, (value, found) in enumerate(cases):
        path = save(tmp_path / f"{number}.pth", value, legacy=legacy)
        refuse(path, "no EMA weights", "'ema_helper'", ".safetensors", found)


LAST = "Unet.mid.block_1.norm1.bias"


def changed(ema: Weights, **weights: Tensor | None) -> Weights:
    """ema with some weights replaced (None: without it)."""
    return {name: tensor for name, tensor in (ema | weights).items() if tensor is not None}


@pytest.fixture(params=["pth", "safetensors"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Weights], Path]:
    def write(weights: Weights) -> Path:
        path = tmp_path / f"m.{request.param}"
        if request.param == "pth":
            return save(path, {"ema_helper": weights})
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
        return path

    return write


def test_missing_weight(write: Callable[[Weights], Path], ema: Weights) -> None:
    for name in (LAST, "high_enhance0.conv_tail.point_conv.bias", "Unet.temb.dense.1.weight"):
        if name in ema:
            refuse(write(changed(ema, **{name: None})), "Missing key", name, whole=True)
    assert LAST in ema
    for name in (CONV_IN, HEAD, DOWN, "Unet.conv_out.weight"):
        refuse(write(changed(ema, **{name: None})), "not a DiffLL", f"{name} is missing")


def test_extra_weight(write: Callable[[Weights], Path], ema: Weights) -> None:
    for name in ("extra", "Unet.down.00.block.0.conv1.weight", "Unet.mid.block_3.norm1.bias", "a\nb"):
        refuse(write(changed(ema, **{name: torch.zeros(3)})), "Unexpected key", name.split("\n")[0], whole=True)
    # one that makes it look like a larger network
    more = {"high_enhance1.conv_head.point_conv.weight": ema[HEAD].clone()}
    refuse(write(changed(ema, **more)), "Missing key", "high_enhance1", whole=True)


def test_gaps(write: Callable[[Weights], Path], ema: Weights) -> None:
    for name in (
        "Unet.down.2.block.0.conv1.weight",
        "Unet.down.0.block.999.conv1.weight",
        "high_enhance2.conv_head.point_conv.weight",
    ):
        pattern = name.replace(".999.", ".*.").replace("down.2", "down.*").replace("enhance2", "enhance*")
        refuse(write(changed(ema, **{name: ema[DOWN].clone()})), "not a DiffLL", "gaps", pattern)
    many = {f"Unet.down.{'1' * 5000}.block.0.conv1.weight": torch.zeros(1)}  # no number of Python's
    refuse(write(changed(ema, **many)), "Unexpected key", whole=True)


def test_more_levels_than_the_paper(write: Callable[[Weights], Path], ema: Weights) -> None:
    more = {HEAD.replace("0", str(level)): ema[HEAD].clone() for level in (1, 2, 3)}
    refuse(write(changed(ema, **more)), "4 HFRMs (1 to 3)")


def test_wrong_shape(write: Callable[[Weights], Path], ema: Weights) -> None:
    refuse(write(changed(ema, **{LAST: torch.zeros(7)})), "size mismatch", LAST, whole=True)
    refuse(write(changed(ema, **{LAST: torch.zeros(())})), "size mismatch", LAST, whole=True)
    refuse(write(changed(ema, **{CONV_IN: torch.zeros(32, 3, 3, 3)})), "size mismatch", CONV_IN, whole=True)
    refuse(write(changed(ema, **{CONV_IN: torch.zeros(32, 6)})), "not a DiffLL", CONV_IN, "(32, 6)")


@pytest.mark.parametrize("name", [CONV_IN, HEAD, DOWN])
@pytest.mark.parametrize("width", [0, 1, 33, 1 << 20])
def test_widths_that_no_network_has(tmp_path: Path, ema: Weights, name: str, width: int) -> None:
    """A tensor without a number may have any shape: it must neither be divided by nor be made room for."""
    shape = (width, 0 if width > 99 else 6, 3, 3)
    path = save(tmp_path / "m.pth", {"ema_helper": changed(ema, **{name: torch.zeros(shape)})})
    whole = width > 99  # a network of that width could be; it does not fit the other weights
    refuse(path, str(width) if not whole else "", "DiffLL", whole=whole)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", [CONV_IN, LAST])
def test_weights_that_are_no_numbers(write: Callable[[Weights], Path], ema: Weights, name: str, value: float) -> None:
    tensor = ema[name].clone()
    tensor.view(-1)[-1] = value
    refuse(write(changed(ema, **{name: tensor})), name, "NaN or infinity")


def test_a_number_that_float32_has_not(write: Callable[[Weights], Path], ema: Weights) -> None:
    refuse(write(changed(ema, **{LAST: ema[LAST].double() + 1e300})), LAST, "NaN or infinity")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make",
    [
        lambda t: t.to_sparse(),
        lambda t: t.to(device="meta"),
        lambda t: t.to(torch.complex64),
        lambda t: t.to(torch.int64),
        lambda t: t > 0,
        lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
        lambda t: t[:1, :1, :1, :1].clone().expand(t.shape),
    ],
    ids=["sparse", "meta", "complex", "int64", "bool", "quantised", "expanded"],
)
def test_weights_that_are_no_plain_arrays(tmp_path: Path, ema: Weights, make: Callable[[Tensor], Tensor]) -> None:
    path = save(tmp_path / "m.pth", {"ema_helper": changed(ema, **{CONV_IN: make(ema[CONV_IN])})})
    refuse(path, CONV_IN, "no plain array")


def test_a_small_file_of_a_huge_tensor(tmp_path: Path, ema: Weights) -> None:
    path = save(tmp_path / "m.pth", {"ema_helper": changed(ema, bomb=torch.zeros(1).expand(1 << 42))})
    assert path.stat().st_size < 10 << 20
    refuse(path, "bomb", "no plain array")


# --- damaged files


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], ema: Weights) -> dict[str, bytes]:
    """The same weights in the three formats, as bytes."""
    folder = tmp_path_factory.mktemp("whole")
    save_file(ema, folder / "m.safetensors")
    return {
        "zip": save(folder / "zip.pth", content).read_bytes(),
        "legacy": save(folder / "legacy.pth", content, legacy=True).read_bytes(),
        "safetensors": (folder / "m.safetensors").read_bytes(),
    }


FORMATS = {"zip": "pth.tar", "legacy": "pth", "safetensors": "safetensors"}


@pytest.mark.parametrize("form", FORMATS)
def test_truncated(tmp_path: Path, whole: dict[str, bytes], form: str) -> None:
    data = whole[form]
    path = tmp_path / f"m.{FORMATS[form]}"
    size = len(data)
    tenths = (size * part // 10 for part in range(1, 10))
    offsets = (1, 2, 3, 4, 7, 8, 9, 30, 100, 1000, 5000, *tenths, size - 100, size - 1)
    for offset in offsets:
        path.write_bytes(data[:offset])
        message = refuse(path)
        assert any(word in message for word in ("damaged", "not a whole", "no EMA weights")), message
    path.write_bytes(data)
    load_checkpoint(path)


GARBAGE = [
    b"", b"\0", b"\0" * 5000, b"\xff" * 100, b"hello", b"<!DOCTYPE html><html>", b"\x80\x02.", b"\x80\x05N.",
    b"cos\nsystem\n", b"PK\x05\x06" + b"\0" * 18, b"\x1f\x8b\x08\0", b"version https://git-lfs.github.com/spec/v1\n",
]  # fmt: skip


@pytest.mark.parametrize("suffix", ["pth.tar", "pth", "pt", "safetensors"])
def test_no_checkpoint_at_all(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m.{suffix}"
    for data in GARBAGE:
        path.write_bytes(data)
        refuse(path)


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_bytes_give_package_errors_only(
    tmp_path: Path, content: dict[str, Any], time_limit: Callable[[int], AbstractContextManager[None]], form: str
) -> None:
    """torch.load and safetensors on damaged bytes end in any exception that Python has: none may come out."""
    path = tmp_path / f"m.{FORMATS[form]}"
    few = {"a": torch.zeros(2, 2), "b": torch.ones(3)}
    if form == "safetensors":
        save_file(few, path)
    else:
        save(path, content | {"ema_helper": few, "state_dict": few}, legacy=form == "legacy")
    data, rng = path.read_bytes(), random.Random(form)
    with time_limit(60):
        for _ in range(300):
            out = bytearray(data)
            for _ in range(rng.choice((1, 1, 2, 5))):
                place, kind = rng.randrange(len(out)), rng.randrange(4)
                if kind == 0:
                    out[place] = rng.randrange(256)
                elif kind == 1:
                    out[place] ^= 1 << rng.randrange(8)
                elif kind == 2:
                    del out[place : place + rng.randrange(1, 9)]
                else:
                    out[place:place] = rng.randbytes(rng.randrange(1, 5))
            path.write_bytes(out)
            refuse(path)


# --- pickles that run code


class Payload:
    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call, self.arguments


def payloads(marker: Path) -> dict[str, Payload]:
    """Each writes the file ``marker``. The key is part of the global that the pickle names."""
    code = f"open({str(marker)!r}, 'w').close()"
    return {
        "posix.system": Payload(os.system, f"touch {marker}"),
        "eval": Payload(builtins.eval, code),
    }


def test_the_payloads_would_work(tmp_path: Path) -> None:
    for name, payload in payloads(tmp_path / "marker").items():
        pickle.loads(pickle.dumps(payload))
        assert (tmp_path / "marker").exists(), name
        (tmp_path / "marker").unlink()


@pytest.mark.parametrize("name", ["posix.system", "eval"])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("place", ["whole", "weight", "config", "unused"])
def test_no_code_is_run(
    tmp_path: Path, content: dict[str, Any], ema: Weights, name: str, form: str, place: str
) -> None:
    marker, path = tmp_path / "marker", tmp_path / "evil.pth.tar"
    payload = payloads(marker)[name]
    few = {"a": torch.zeros(2)}
    value: Any = {
        "whole": payload,
        "weight": {"ema_helper": few | {"b": payload}},
        "config": {"ema_helper": few, "config": Namespace(model=Namespace(ch=payload))},
        "unused": {"ema_helper": few, "step": payload},
    }[place]
    if form == "pickle":
        path.write_bytes(pickle.dumps(value, protocol=2))
        assert refuse(path)
    else:
        message = refuse(save(path, value, legacy=form == "legacy"), "refused", "run code", name, ".safetensors")
        assert "argparse.Namespace" in message
    assert not marker.exists()


def test_the_allow_list_is_put_back(official: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    load_checkpoint(official)
    assert set(torch.serialization.get_safe_globals()) == before


# --- the file


@pytest.mark.parametrize(
    "name", ["m.bin", "m.onnx", "m.pt2", "m.zip", "m.tar", "m", "pth", "m.PTH", "m.pth.gz", "m.ckpt"]
)
def test_wrong_suffix(tmp_path: Path, official: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(official.read_bytes())
    refuse(path, "name", ".pth.tar", ".safetensors", kind=InputError)


@pytest.mark.parametrize("suffix", ["pth.tar", "safetensors"])
def test_a_file_that_cannot_be_read(tmp_path: Path, suffix: str) -> None:
    refuse(tmp_path / f"missing.{suffix}", "No such file", "check the path", kind=InputError)
    (tmp_path / f"folder.{suffix}").mkdir()
    refuse(tmp_path / f"folder.{suffix}", "directory", kind=InputError)
    refuse(tmp_path / f"{'x' * 300}.{suffix}", "too long", kind=InputError)
    (tmp_path / f"link.{suffix}").symlink_to("nowhere")
    refuse(tmp_path / f"link.{suffix}", "No such file", kind=InputError)
