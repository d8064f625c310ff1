"""package_folder: where a package goes, and what is there when it cannot."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from runtime.errors import InputError
from runtime.package.manifest import MANIFEST
from runtime.package.writing import package_folder


def write(output: Path, text: str, *, overwrite: bool = False) -> None:
    with package_folder(output, overwrite) as work:
        (work / MANIFEST).write_text(manifest(text))


def manifest(text: str) -> str:
    return json.dumps({"format": "diffll-package", "files": {"golden.npz": {"sha256": "0" * 64}}, "text": text})


def text_of(package: Path) -> str:
    return str(json.loads((package / MANIFEST).read_text())["text"])


def test_a_link_to_a_package_stays_one(tmp_path: Path) -> None:
    write(tmp_path / "new/folders/package", "old")
    (tmp_path / "latest").symlink_to("new/folders/package")
    write(tmp_path / "latest", "new", overwrite=True)
    assert (tmp_path / "latest").is_symlink()
    assert text_of(tmp_path / "new/folders/package") == "new"
    assert sorted(os.listdir(tmp_path)) == ["latest", "new"]
    assert os.listdir(tmp_path / "new/folders") == ["package"]


def test_the_folder_that_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "package", "old")
    monkeypatch.chdir(tmp_path / "package")
    write(Path("."), "new", overwrite=True)
    assert text_of(tmp_path / "package") == "new"
    assert os.listdir(tmp_path) == ["package"]


def test_what_is_no_package_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("precious")
    (tmp_path / "nowhere").symlink_to("missing")
    write(tmp_path / "package", "old")
    for name, overwrite, message in (
        ("folder", True, "is no package"),
        ("file", True, "is no package"),
        ("nowhere", True, "is no package"),
        ("file/package", False, "not a folder"),
        ("package", False, "give --overwrite"),
    ):
        with pytest.raises(InputError, match=message):
            write(tmp_path / name, "new", overwrite=overwrite)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "nowhere", "package"]
    assert text_of(tmp_path / "package") == "old"


def test_a_full_disk(tmp_path: Path) -> None:
    def fill() -> None:
        with package_folder(tmp_path / "package", False) as work:
            (work / MANIFEST).write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"No space left on device.*choose another -o"):
        fill()
    assert os.listdir(tmp_path) == []
