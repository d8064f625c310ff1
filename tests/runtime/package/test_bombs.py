"""A package that asks for terabytes or for hours is refused by name, before an engine sees it: within seconds and a
gigabyte, on the engines of a plain CPU."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import hostile
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from package_checks import check_refused

from runtime.errors import PackageError
from runtime.package.reading import Package

ROOT = Path(__file__).parents[3]
Limit = Callable[[int], AbstractContextManager[None]]


@pytest.fixture
def package(tiny_package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_package, tmp_path / "package"))


@pytest.mark.parametrize("attack", hostile.ATTACKS)
def test_attacks_are_refused_by_name(package: Path, attack: str, time_limit: Limit) -> None:
    edit, words = hostile.ATTACKS[attack]
    hostile.put(package, "dwt.onnx", hostile.edited((package / "dwt.onnx").read_bytes(), edit))
    with time_limit(20):
        opened = Package.open(package)
        if not words:
            opened.graph("dwt")
            return
        with pytest.raises(PackageError) as caught:
            opened.graph("dwt")
    check_refused(caught.value, "dwt.onnx", words)


def loops(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    found = []
    for node in graph.node:
        found += [node] if node.op_type == "Loop" else []
        found += [one for part in node.attribute if part.HasField("g") for one in loops(part.g)]
    return found


def test_a_denoiser_has_one_form_of_loop(package: Path) -> None:
    """Another number of turns, a state of its own, or a condition that it changes are no package's."""
    good = (package / "denoiser.onnx").read_bytes()

    def turns(graph: onnx.GraphProto) -> None:
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(1 << 31), "many"))
        loops(graph)[0].input[0] = "many"

    def state(graph: onnx.GraphProto) -> None:
        node = loops(graph)[0]
        node.input.append("attention_one")
        node.attribute[0].g.input.add(name="state").type.tensor_type.elem_type = TensorProto.INT64

    def condition(graph: onnx.GraphProto) -> None:
        body = loops(graph)[0].attribute[0].g
        body.node.append(helper.make_node("Equal", [body.input[0].name, body.input[0].name], ["always"]))
        body.output[0].name = "always"

    for edit, words in (
        (turns, "a Loop of 2,147,483,648 turns"),
        (state, "a Loop of a form"),
        (condition, "a Loop of a form"),
    ):
        hostile.put(package, "denoiser.onnx", hostile.edited(good, edit))
        with pytest.raises(PackageError) as caught:
            Package.open(package).graph("denoiser")
        check_refused(caught.value, "denoiser.onnx", words)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_opening_an_attack_takes_seconds_and_less_than_a_gigabyte(
    tiny_package: Path, tmp_path: Path, backend: str
) -> None:
    good = (tiny_package / "dwt.onnx").read_bytes()
    for number, (edit, _) in enumerate(hostile.ATTACKS.values()):
        package = Path(shutil.copytree(tiny_package, tmp_path / f"{number:02}"))
        hostile.put(package, "dwt.onnx", hostile.edited(good, edit))
    wide = Path(shutil.copytree(tiny_package, tmp_path / "wide"))
    large = onnx.TensorProto(name="large", data_type=1, dims=[60 << 20], raw_data=bytes(240 << 20))
    hostile.put(wide, "dwt.onnx", hostile.edited(good, lambda graph: graph.initializer.append(large)))
    command = [sys.executable, hostile.__file__, str(tmp_path), backend]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(hostile.ATTACKS) + 1
    for (name, seconds, said, peak), (attack, (_, words)) in zip(
        lines, [*hostile.ATTACKS.items(), ("wide", (0, ""))], strict=True
    ):
        assert words in said, (name, attack)
        assert peak < 1024, (attack, peak)
        assert seconds < 5 * 6, (attack, seconds)  # of a machine that others use too


def test_files_of_gigabytes_are_refused_before_they_are_read(package: Path, time_limit: Limit) -> None:
    for name, size, words in (("dwt.onnx", 5 << 30, "bytes"), ("more.bin", (256 << 20) - 99, "come to")):
        with (package / name).open("ab") as file:
            file.truncate(size)  # a hole
        content = json.loads((package / "manifest.json").read_text())
        content["files"][name] = {"sha256": "0" * 64, "bytes": size}
        before = (package / "manifest.json").read_text()
        (package / "manifest.json").write_text(json.dumps(content))
        with time_limit(5), pytest.raises(PackageError) as caught:
            Package.open(package)
        check_refused(caught.value, "manifest.json", words)
        (package / "manifest.json").write_text(before)


@pytest.mark.parametrize("name", ["manifest.json", "dwt.onnx", "golden.npz", "certificate.json"])
def test_pipes_and_devices_are_refused(package: Path, name: str, time_limit: Limit) -> None:
    (package / name).unlink()
    os.mkfifo(package / name)
    with time_limit(5), pytest.raises(PackageError) as caught:
        Package.open(package)
    check_refused(caught.value, name, "no regular file")


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, value in entries.items():
            archive.writestr(name, value)
    return content.getvalue()


def test_golden_samples_that_unpack_to_much_are_refused(package: Path, time_limit: Limit) -> None:
    with np.load(package / "golden.npz") as arrays:
        good = {f"{name}.npy": arrays[name] for name in arrays.files}

    def packed(array: np.ndarray) -> bytes:
        content = io.BytesIO()
        np.save(content, array)
        return content.getvalue()

    entries = {name: packed(array) for name, array in good.items()}
    header = entries["photo.npy"][:10] + b"{'descr': '|u1', 'fortran_order': False, 'shape': (9000000, 900000, 3), }\n"
    for content, words in (
        (zipped(entries | {"photo.npy": packed(np.zeros((4000, 4000, 3), np.uint8))}), "too large"),
        (zipped(entries | {"more.npy": b""}), "5 entries"),
        (zipped(entries, zipfile.ZIP_LZMA), "packed in a way"),
        (zipped(entries | {"photo.npy": header}), "golden"),
    ):
        hostile.put(package, "golden.npz", content)
        with time_limit(10), pytest.raises(PackageError) as caught:
            Package.open(package).golden()
        check_refused(caught.value, "golden.npz", words)
