"""Checkpoints that are wrapped, accompanied, of another format or hostile: read where only names differ, and named for
what they are where not."""

from __future__ import annotations

import argparse
import datetime
import gzip
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from checkpoint_samples import Weights, save
from safetensors.torch import save_file

from export.checkpoint import load_checkpoint
from export.model import Architecture, DiffLL
from runtime.errors import DiffLLError, InputError, PackageError

Limit = Callable[[int], AbstractContextManager[None]]


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.",
        "module.module.",
        "model.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model.module._orig_mod.model.",
    ],
)
def test_wrappers_in_any_order(tmp_path: Path, ema: Weights, prefix: str) -> None:
    path = save(tmp_path / "m.pth", {"ema_helper": {prefix + name: tensor for name, tensor in ema.items()}})
    assert load_checkpoint(path).weights.keys() == ema.keys()
    load_checkpoint(path).model()


def test_a_part_that_is_wrapped(tmp_path: Path, ema: Weights) -> None:
    path = save(tmp_path / "m.pth", {"ema_helper": {name.replace(".", "._orig_mod.", 1): t for name, t in ema.items()}})
    assert load_checkpoint(path).weights.keys() == ema.keys()
    path = save(tmp_path / "m.pth", {"ema_helper": ema | {f"module.{name}": tensor for name, tensor in ema.items()}})
    with pytest.raises(PackageError, match="two of its weights have one name"):
        load_checkpoint(path)


def test_numbers_and_dates_beside_the_weights(tmp_path: Path, ema: Weights) -> None:
    beside = {
        "loss": np.float64(0.5),
        "psnr": np.float32(20),
        "step": np.int64(7),
        "when": datetime.datetime(2026, 1, 2, 3, 4),
        "took": datetime.timedelta(hours=3),
        "params": argparse.Namespace(lr=np.float64(1e-4)),
        "log": OrderedDict(a=1),
    }
    for legacy in (False, True):
        path = save(tmp_path / "m.pth", {"ema_helper": ema} | beside, legacy=legacy)
        assert load_checkpoint(path).weights.keys() == ema.keys()


def script(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "code/__torch__.py", "constants.pkl"):
            archive.writestr(f"m/{name}", b"")


def graph(path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [value], [value])), path)


def bomb(path: Path) -> None:
    torch.save({"ema_helper": {"w": torch.zeros(1 << 22)}}, path.with_suffix(".flat"))
    with zipfile.ZipFile(path.with_suffix(".flat")) as flat, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in flat.namelist():
            packed.writestr(name, flat.read(name))


def lfs(path: Path) -> None:
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


def old(path: Path) -> None:
    torch.save({}, path, pickle_protocol=5, _use_new_zipfile_serialization=False)


OTHERS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "pickle": ("m.pth", lambda path: path.write_bytes(pickle.dumps({"ema_helper": 1}, 4)), "pickle protocol 4"),
    "pickle 5": ("m.pt", lambda path: path.write_bytes(pickle.dumps({"ema_helper": 1}, 5)), "pickle protocol 5"),
    "torch.save, 4": ("m.pth", lambda path: torch.save({"a": 1}, path, pickle_protocol=4), "pickle protocol 4"),
    "torch.save, 5": ("m.pth", old, "protocol 5"),
    "TorchScript": ("m.pt", script, "TorchScript"),
    "ONNX": ("m.pth", graph, "an ONNX graph"),
    "safetensors": ("m.pth", lambda path: save_file({"w": torch.zeros(3)}, path), "a safetensors file"),
    "torch.save as safetensors": ("m.safetensors", lambda path: torch.save({}, path), "a checkpoint of torch"),
    "Keras": ("m.pth", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5"),
    "numpy": ("m.pth", lambda path: np.save(path.open("wb"), np.zeros(3)), "numpy"),
    "npz": ("m.pth", lambda path: np.savez(path.open("wb"), a=np.zeros(3)), "a zip archive without a checkpoint"),
    "gzip": ("m.pth.tar", lambda path: path.write_bytes(gzip.compress(bytes(99))), "gzip"),
    "git-lfs": ("m.safetensors", lfs, "git-lfs"),
    "web page": ("m.pth", lambda path: path.write_bytes(b"<!DOCTYPE html>"), "web page"),
    "zip bomb": ("m.pth", bomb, "unpack to more than it is"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_formats_are_named(tmp_path: Path, kind: str, time_limit: Limit) -> None:
    name, write, words = OTHERS[kind]
    write(tmp_path / name)
    with time_limit(10), pytest.raises(PackageError, match=words) as caught:
        load_checkpoint(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_no_regular_files(tmp_path: Path, time_limit: Limit) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "device.pth").symlink_to("/dev/zero")
    (tmp_path / "folder.pth").mkdir()
    with (tmp_path / "hole.pth").open("wb") as file:
        file.truncate(5 << 30)
    for path in sorted(tmp_path.iterdir()):
        with time_limit(5), pytest.raises(InputError, match=r"no regular file|so many"):
            load_checkpoint(path)


def test_one_storage_under_many_names(tmp_path: Path, ema: Weights, time_limit: Limit) -> None:
    large = torch.zeros(1 << 22, dtype=torch.float16)
    path = save(tmp_path / "m.pth", {"ema_helper": ema | {f"w{number}": large for number in range(2000)}})
    with time_limit(10), pytest.raises(PackageError, match="more bytes than the file"):
        load_checkpoint(path)


def test_networks_of_hundreds_of_blocks(tmp_path: Path, ema: Weights, time_limit: Limit) -> None:
    one = torch.zeros(32, 32, 1, 1)
    for names in (
        [f"Unet.down.{level}.block.0.conv1.weight" for level in range(100)],
        [f"Unet.down.0.block.{block}.conv1.weight" for block in range(100)],
    ):
        path = save(tmp_path / "m.pth", {"ema_helper": ema | {name: one.clone() for name in names}})
        with time_limit(10), pytest.raises(PackageError, match="UNet levels"):
            load_checkpoint(path)


@pytest.mark.parametrize("levels", [1, 3])
def test_a_network_whose_smallest_map_is_one_position_runs(levels: int) -> None:
    """Five UNet levels of 32 channels: PyTorch's own GroupNorm refuses a group of one number."""
    model = DiffLL(Architecture(32, (1,) * 5, 1, (2,), 8, levels)).eval()
    size = model.arch.pad_multiple >> levels
    with torch.no_grad():
        eps = model.Unet(torch.zeros(1, 6, size, size), torch.zeros(1))
    assert eps.shape == (1, 3, size, size)


def test_every_failure_is_ours(tmp_path: Path, content: dict[str, Any]) -> None:
    """Cut at any place, with the first bytes of any format, it is one of our errors."""
    whole = save(tmp_path / "whole.pth", content).read_bytes()
    signs = (b"", b"PK\x03\x04", b"\x80\x02", b"\x08\x0a\x12", b"\x02\0\0\0\0\0\0\0{}")
    for number, start in enumerate(signs):
        for length in (0, 3, 40, len(whole) // 2, len(whole) - 30):
            path = tmp_path / f"{number}.pth"
            path.write_bytes(start + whole[len(start) : length])
            with pytest.raises(DiffLLError):
                load_checkpoint(path)
