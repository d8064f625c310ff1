"""Package.open and Package.read: a whole package opens, and one with damaged, missing or linked files does not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path

import pytest
from package_checks import CURE, FILES, GRAPHS, check_refused

from runtime.enhancer import Enhancer
from runtime.errors import PackageError
from runtime.package.manifest import TensorSpec
from runtime.package.reading import Package


@pytest.fixture
def package(tiny_package: Path, tmp_path: Path) -> Path:
    """A copy of its own for a test that changes files."""
    return Path(shutil.copytree(tiny_package, tmp_path / "package"))


# --- a good package


def test_a_whole_package_opens(tiny_package: Path) -> None:
    package = Package.open(tiny_package)
    manifest = package.manifest
    assert (manifest.precision, manifest.levels, manifest.pad_multiple) == ("fp32", 2, 8)
    assert (manifest.num_train_timesteps, manifest.num_inference_steps) == (200, 10)
    assert len(manifest.betas) == len(manifest.alphas_cumprod) == 200
    assert manifest.betas[0] == pytest.approx(1e-4)
    assert manifest.betas[-1] == pytest.approx(0.02)
    assert [stage.name for stage in manifest.stages] == ["dwt", "hfrm0", "hfrm1", "denoiser", "idwt"]
    assert sorted(manifest.files) == sorted(FILES)
    assert sorted(os.listdir(tiny_package)) == sorted((*FILES, "manifest.json"))
    for name in FILES:
        assert package.read(name) == (tiny_package / name).read_bytes()
    assert package.sha256 == sha256((tiny_package / "manifest.json").read_bytes()).hexdigest()


def test_the_path_may_be_a_string_and_a_link_to_the_directory(tiny_package: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tiny_package)
    for path in (str(tiny_package), tmp_path / "link", str(tmp_path / "link") + "/"):
        assert Package.open(path).manifest == Package.open(tiny_package).manifest


def test_the_manifest_goes_round(tiny_package: Path, package: Path) -> None:
    manifest = Package.open(tiny_package).manifest
    assert manifest.to_json() == (tiny_package / "manifest.json").read_text()
    (package / "manifest.json").write_text(manifest.to_json())
    assert Package.open(package).manifest == manifest


def test_a_shape_in_numbers() -> None:
    spec = TensorSpec("x", "float32", ("batch", 9, "height/2", "width", "width/16"))
    assert spec.resolve(3, 64, 32) == (3, 9, 32, 32, 2)
    assert spec.photo_size((3, 9, 32, 32, 2)) == {"batch": 3, "height": 64, "width": 32}
    assert TensorSpec("timestep", "int32", (1,)).photo_size((1,)) == {}


# --- files


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0], ids=["first", "middle", "last"])
@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_is_seen_before_the_file_is_used(package: Path, name: str, place: float) -> None:
    damaged = bytearray((package / name).read_bytes())
    damaged[round(place * (len(damaged) - 1))] ^= 1
    (package / name).write_bytes(damaged)
    opened = Package.open(package)
    with pytest.raises(PackageError) as caught:
        opened.read(name)
    check_refused(caught.value, name, "sha256", opened.manifest.files[name][0][:12])
    for other in set(FILES) - {name}:
        opened.read(other)


@pytest.mark.parametrize("name", GRAPHS)
def test_no_engine_sees_a_damaged_graph(package: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.backends.onnxruntime import session as onnxruntime_

    damaged = bytearray((package / name).read_bytes())
    damaged[len(damaged) // 2] ^= 0x10
    (package / name).write_bytes(damaged)
    seen: list[bytes] = []

    class Session(onnxruntime_.ort.InferenceSession):  # type: ignore[misc]
        def __init__(self, graph: bytes, *others: object, **named: object) -> None:
            seen.append(graph)
            super().__init__(graph, *others, **named)

    monkeypatch.setattr(onnxruntime_.ort, "InferenceSession", Session)
    with pytest.raises(PackageError, match=name):
        Enhancer.open(package)
    assert bytes(damaged) not in seen
    assert len(seen) == GRAPHS.index(name)


def test_a_damaged_golden_sample_is_no_engine_s_fault(package: Path) -> None:
    with (package / "golden.npz").open("r+b") as file:
        file.seek(1000)
        file.write(b"\xa5\x5a")
    with Enhancer.open(package) as enhancer, pytest.raises(PackageError, match=r"golden\.npz.*sha256"):
        enhancer.self_test()


@pytest.mark.parametrize("change", [-1, 1, -1000])
@pytest.mark.parametrize("name", FILES)
def test_wrong_size(package: Path, name: str, change: int) -> None:
    whole = (package / name).read_bytes()
    (package / name).write_bytes(whole + b"\0" if change > 0 else whole[:change])
    with pytest.raises(PackageError) as caught:
        Package.open(package)
    check_refused(caught.value, name, "bytes", f"{len(whole):,}", f"{len(whole) + change:,}")


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_missing_file(package: Path, name: str) -> None:
    (package / name).unlink()
    with pytest.raises(PackageError) as caught:
        Package.open(package)
    check_refused(caught.value, name, "missing")


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize("kind", ["link out", "link in", "dangling link", "directory", "fifo"])
def test_links_and_other_things_than_files(
    package: Path, time_limit: Callable[[int], AbstractContextManager[None]], name: str, kind: str
) -> None:
    file = package / name
    if kind == "link out":  # the very bytes that the manifest lists
        file.rename(package.parent / name)
        file.symlink_to(package.parent / name)
    elif kind == "link in":
        file.rename(package / "other")
        file.symlink_to("other")
    else:
        file.unlink()
        if kind == "dangling link":
            file.symlink_to("nowhere")
        elif kind == "directory":
            file.mkdir()
        else:
            os.mkfifo(file)
    with time_limit(10), pytest.raises(PackageError) as caught:
        Package.open(package)
    check_refused(caught.value, name, "link or no regular file")


@pytest.mark.parametrize("kind", ["link", "missing", "longer", "directory"])
def test_a_file_that_changes_after_open(package: Path, kind: str) -> None:
    opened = Package.open(package)
    file = package / "dwt.onnx"
    whole = file.read_bytes()
    file.unlink()
    if kind == "link":
        (package.parent / "same").write_bytes(whole)
        file.symlink_to(package.parent / "same")
    elif kind == "longer":
        file.write_bytes(whole + b"\0" * 100)
    elif kind == "directory":
        file.mkdir()
    with pytest.raises(PackageError) as caught:
        opened.read("dwt.onnx")
    check_refused(caught.value, "dwt.onnx")


def test_a_link_made_between_check_and_read_is_not_followed(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, file = Package.open(package), package / "dwt.onnx"
    before = os.lstat(file)
    file.rename(package.parent / "same")
    file.symlink_to(package.parent / "same")
    monkeypatch.setattr("runtime.package.reading._regular_file", lambda *_: before)
    with pytest.raises(PackageError) as caught:
        opened.read("dwt.onnx")
    check_refused(caught.value, "dwt.onnx", "cannot be read")


def test_names_that_are_names(package: Path) -> None:
    for name in ("a", "0", "x" * 100, "a..b", "A-b_c.d"):
        content = json.loads((package / "manifest.json").read_bytes())
        old = content["stages"][0]["file"]
        (package / old).rename(package / name)
        content["stages"][0]["file"] = name
        content["files"][name] = content["files"].pop(old)
        (package / "manifest.json").write_text(json.dumps(content))
        assert Package.open(package).read(name)


def test_a_package_of_another_network_is_an_error_of_ours(package: Path) -> None:
    """Graphs that are sound but not the manifest's are refused before an engine sees them, in our words."""
    content = json.loads((package / "manifest.json").read_bytes())
    (package / "dwt.onnx").write_bytes(b"\x08\x0a\x3a\x00")  # an empty graph
    entry = (package / "dwt.onnx").read_bytes()
    content["files"]["dwt.onnx"] = {"sha256": sha256(entry).hexdigest(), "bytes": len(entry)}
    (package / "manifest.json").write_text(json.dumps(content))
    Package.open(package).read("dwt.onnx")
    with pytest.raises(PackageError, match=r"dwt\.onnx: no graph of a package"):
        Enhancer.open(package)


# --- the path


def test_paths_that_are_no_package(tiny_package: Path, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    long = tmp_path / ("x" * 5000)
    for path, words in {
        tiny_package / "manifest.json": "is a file",
        tmp_path / "nothing": "does not exist",
        tiny_package / "manifest.json" / "x": "does not exist",
        tmp_path: "manifest.json: missing",
        long: "does not exist",
    }.items():
        with pytest.raises(PackageError, match=words) as caught:
            Package.open(path)
        assert CURE.search(str(caught.value))
    with pytest.raises(PackageError):
        Package.open(tmp_path / "dangling")
