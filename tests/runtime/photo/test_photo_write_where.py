"""write_photo: which files may be written at all, and what is there after a failure."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from photo_samples import assert_same, photo_of

from runtime.errors import InputError
from runtime.photo import SUFFIXES, Photo, check_destination, read_photo, write_photo
from runtime.photo import write as write_module


def test_suffixes() -> None:
    assert dict(SUFFIXES) == {
        ".jpg": "JPEG",
        ".jpeg": "JPEG",
        ".jpe": "JPEG",
        ".jfif": "JPEG",
        ".jif": "JPEG",
        ".jfi": "JPEG",
        ".png": "PNG",
        ".tif": "TIFF",
        ".tiff": "TIFF",
        ".webp": "WEBP",
        ".bmp": "BMP",
        ".dib": "BMP",
        ".avif": "AVIF",
        ".heic": "HEIC",
        ".heif": "HEIC",
    }


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png.part", ".png"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"suffix.*\.jpg, \.jpeg, \.png, \.tif, \.tiff, \.webp, \.bmp"):
        check_destination(tmp_path / name, source=None, overwrite=True)
    with pytest.raises(InputError, match="suffix"):
        write_photo(tmp_path / name, photo_of())


def test_folder_of_the_destination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    for name, message in (
        ("missing/a.png", "does not exist; make the folder first"),
        ("file/a.png", "is not a folder"),
        ("folder.png", "is a folder; give a file name in it"),
    ):
        for overwrite in (False, True):
            with pytest.raises(InputError, match=message):
                check_destination(tmp_path / name, source=None, overwrite=overwrite)
    check_destination(tmp_path / "a.PNG", source=None, overwrite=False)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(InputError, match="no permission to write in"):
        check_destination(tmp_path / "a.png", source=None, overwrite=False)


def test_existing_file_needs_overwrite(tmp_path: Path) -> None:
    path, photo = tmp_path / "a.png", photo_of()
    path.write_bytes(b"precious")
    for refused in (
        lambda: check_destination(path, source=None, overwrite=False),
        lambda: check_destination(path, source=tmp_path / "missing.png", overwrite=False),
        lambda: write_photo(path, photo),
    ):
        with pytest.raises(InputError, match="exists already; choose another name or allow it"):
            refused()
    assert path.read_bytes() == b"precious"
    check_destination(path, source=None, overwrite=True)
    write_photo(path, photo, overwrite=True)
    assert_same(read_photo(path), photo)
    assert os.listdir(tmp_path) == ["a.png"]


def test_source_under_another_name(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(b"precious")
    os.link(source, tmp_path / "b.png")
    os.symlink(source, tmp_path / "c.png")
    for name in ("a.png", "b.png", "c.png", "../" + tmp_path.name + "/a.png"):
        with pytest.raises(InputError, match="it is the photo being read"):
            check_destination(tmp_path / name, source=source, overwrite=False)
        check_destination(tmp_path / name, source=source, overwrite=True)


def test_symbolic_links(tmp_path: Path) -> None:
    photo = photo_of()
    (tmp_path / "real").mkdir()
    os.symlink("real/a.png", tmp_path / "link.png")
    with pytest.raises(InputError, match="exists already"):  # though it leads nowhere yet
        write_photo(tmp_path / "link.png", photo)
    with pytest.raises(InputError, match="exists already"):
        check_destination(tmp_path / "link.png", source=None, overwrite=False)
    assert os.listdir(tmp_path / "real") == []
    write_photo(tmp_path / "link.png", photo, overwrite=True)
    assert (tmp_path / "link.png").is_symlink()
    assert_same(read_photo(tmp_path / "real/a.png"), photo)


def test_file_that_appears_while_writing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    link = os.link

    def late(source: Any, target: Any) -> None:
        path.write_bytes(b"precious")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(InputError, match="exists already"):
        write_photo(path, photo_of())
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"a\.png: No space left on device; free 0\.0 MB or choose"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "quota exceeded; free"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied; choose another folder or change"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error; check the folder and its disk"),
    ],
)
def test_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, message: str) -> None:
    def failing(source: Any, target: Any) -> None:
        raise error

    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(InputError, match=message):
        write_photo(path, photo_of(), overwrite=True)
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize(
    ("error", "message"),
    [(MemoryError(), "not enough memory"), (ValueError("too odd"), "too odd; write PNG or TIFF")],
)
def test_encoder_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def failing(photo: Photo, kind: str, quality: int | None) -> bytes:
        raise error

    monkeypatch.setattr(write_module, "_encode", failing)
    with pytest.raises(InputError, match=message):
        write_photo(tmp_path / "a.jpg", photo_of())
    assert os.listdir(tmp_path) == []
