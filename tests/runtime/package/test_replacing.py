"""--overwrite replaces a package of ours and nothing else; engines of the same graphs stay."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from runtime.backends.tensorrt import runtime_cache
from runtime.engines import cache
from runtime.engines.cache import EngineCache, EngineKey
from runtime.errors import InputError
from runtime.machine import files
from runtime.package import replacing
from runtime.package.manifest import MANIFEST, Manifest
from runtime.package.reading import Package
from runtime.package.writing import check_output, package_folder, write_manifest


@pytest.fixture
def package(tiny_package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_package, tmp_path / "package"))


def replace(package: Path, source: Path, changed: str = "") -> None:
    """Put the package ``source`` there; of the stage ``changed`` the graph is another one."""
    with package_folder(package, True) as work:
        for path in source.iterdir():
            if path.is_file():
                shutil.copy(path, work)
        if changed:
            (work / f"{changed}.onnx").write_bytes((work / f"{changed}.onnx").read_bytes() + b"\0")
            write_manifest(work, Manifest.from_json((source / MANIFEST).read_bytes(), ""))


def store(package: Path, *stages: str) -> dict[str, dict[str, tuple[bytes, int, int]]]:
    """Engines of these stages; what is in ``engines`` then."""
    manifest = Package.open(package).manifest
    for stage in stages:
        digest = manifest.files[manifest.stage(stage).file][0]
        EngineCache(package).store(EngineKey(stage, digest, "ncnn", {}, {}, {}), {"engine.bin": stage.encode()}, {})
    return engines(package)


def engines(package: Path) -> dict[str, dict[str, tuple[bytes, int, int]]]:
    """Entry -> file -> (content, mode, time)."""
    return {
        entry.name: {
            one.name: (one.read_bytes(), one.stat().st_mode, one.stat().st_mtime_ns) for one in entry.iterdir()
        }
        for entry in (package / "engines").glob("*")
        if entry.is_dir()
    }


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name", ["notes.txt", ".hidden", "photos/a.png", "engines/notes.txt", "engines/ENTRY/notes.txt", "engines/x/y"]
)
def test_what_is_not_the_packages_is_a_refusal_that_names_it(tiny_package: Path, package: Path, name: str) -> None:
    (entry,) = store(package, "dwt")
    name = name.replace("ENTRY", entry)
    (package / name).parent.mkdir(exist_ok=True)
    (package / name).write_text("precious")
    before = tree(package)
    with pytest.raises(InputError, match=r"not the package's \('.*\)") as refused:
        check_output(package, True)
    assert name.split("/")[0] in str(refused.value)
    with pytest.raises(InputError, match="nothing was touched"):
        replace(package, tiny_package)
    assert tree(package) == before
    assert os.listdir(package.parent) == ["package"]


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_a_listed_name_that_is_no_file_is_not_the_packages(tiny_package: Path, package: Path, kind: str) -> None:
    graph = package / "dwt.onnx"
    graph.unlink()
    if kind == "link":
        graph.symlink_to(tiny_package / "dwt.onnx")
    else:
        graph.mkdir()
    with pytest.raises(InputError, match=r"\('dwt.onnx'\)"):
        check_output(package, True)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"format": "diffll-package"}', '{"format": "diffll-package", "files": 3}', "[" * 100_000,
     '{"manifest_version": 3, "name": "a browser extension", "files": {}}', '{"format": "other", "files": {}}',
     '{"format": "other", "format": "diffll-package", "files": {}}'],
)  # fmt: skip
def test_a_folder_with_any_manifest_is_no_package(tmp_path: Path, text: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / MANIFEST).write_text(text)
    with pytest.raises(InputError, match="is no package; nothing was touched"):
        check_output(tmp_path / "folder", True)


def test_a_damaged_package_is_one(tiny_package: Path, package: Path) -> None:
    """To build it again is the cure that its errors name."""
    (package / "dwt.onnx").unlink()
    (package / "golden.npz").write_bytes(b"")
    replace(package, tiny_package)
    assert tree(package) == tree(tiny_package)


def test_engines_of_the_same_graphs_stay_and_the_others_go(tiny_package: Path, package: Path) -> None:
    before = store(package, "dwt", "denoiser", "hfrm0")
    (package / "engines/timing-tensorrt.cache").write_bytes(b"times")
    (package / "engines/.lock").write_bytes(b"")
    mode = (package / "engines").stat().st_mode
    replace(package, tiny_package, "denoiser")
    after = engines(package)
    assert len(after) == 2
    assert after == {name: before[name] for name in after}
    assert {one.key["stage"] for one in EngineCache(package).entries()} == {"dwt", "hfrm0"}
    assert (package / "engines/timing-tensorrt.cache").read_bytes() == b"times"
    assert (package / "engines").stat().st_mode == mode
    assert all(file.stat().st_nlink == 1 for file in (package / "engines").rglob("*") if file.is_file())
    Package.open(package)


def test_no_engines_of_the_graphs_is_no_folder(tiny_package: Path, package: Path) -> None:
    store(package, "denoiser")
    replace(package, tiny_package, "denoiser")
    assert not (package / "engines").exists()


def test_engines_stay_where_there_are_no_hard_links(
    tiny_package: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store(package, "dwt")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links")

    monkeypatch.setattr(os, "link", refuse)
    replace(package, tiny_package)
    assert engines(package) == before


def test_a_build_that_fails_keeps_package_and_engines(
    tiny_package: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(package, "dwt")
    before = tree(package)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("sync_tree", "_exchange"):
        with monkeypatch.context() as patch:
            patch.setattr(files, name, full)
            with pytest.raises(InputError, match="No space left"):
                replace(package, tiny_package)
        assert tree(package) == before
        assert os.listdir(package.parent) == ["package"]


def test_what_came_into_the_place_meanwhile_is_kept(tiny_package: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"

    def build(overwrite: bool, meanwhile: str) -> None:
        with package_folder(place, overwrite) as work:
            shutil.copytree(tiny_package, work, dirs_exist_ok=True)
            if meanwhile == "package":
                shutil.copytree(tiny_package, place)
            else:
                place.mkdir(exist_ok=True)
            if meanwhile == "notes":
                (place / "notes.txt").write_text("precious")

    with pytest.raises(InputError, match="appeared there while this one was made, and was kept"):
        build(False, "package")
    assert tree(place) == tree(tiny_package)
    with pytest.raises(InputError, match=r"'notes.txt'"):
        build(True, "notes")
    assert (place / "notes.txt").read_text() == "precious"
    shutil.rmtree(place)
    with pytest.raises(InputError, match="is no package"):
        build(True, "notes")
    assert os.listdir(place) == ["notes.txt"]
    assert os.listdir(tmp_path) == ["place"]


def test_the_names_of_engines_are_known(tmp_path: Path) -> None:
    assert replacing.ENGINES == cache.FOLDER
    names = cache.PLAN, cache.BLOB, cache.GRAPH, cache.PARAM, cache.WEIGHTS, cache.SHIFTS, runtime_cache.FILE
    assert all(replacing._OF_AN_ENGINE.fullmatch(name) for name in (*names, replacing._ENTRY))
    EngineCache(tmp_path).store(EngineKey("dwt", "0", "ncnn", {}, {}, {}), {name: b"" for name in names}, {})
    (tmp_path / MANIFEST).write_text(json.dumps({"format": "diffll-package", "files": {}}))
    assert replacing.foreign_files(tmp_path) == []
