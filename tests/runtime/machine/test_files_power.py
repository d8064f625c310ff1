"""What a power cut leaves: whatever gets a name is on the disk by then, and nothing is removed before its name is."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.machine import durable, files, leftovers
from runtime.machine.files import write_file, write_folder


class Disk:
    """What has been synced: the rest is lost at a cut. Renames are told, to be held against it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: dict[int, tuple[int, int]] = {}
        self.folders: dict[int, dict[str, int]] = {}
        self.named: list[Path] = []
        """What got a name, in order."""
        sync = durable.sync

        def noted(descriptor: int) -> None:
            sync(descriptor)
            found = os.fstat(descriptor)
            if os.path.isdir(f"/proc/self/fd/{descriptor}"):
                self.folders[found.st_ino] = self.names(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
            else:
                self.files[found.st_ino] = (found.st_size, found.st_mtime_ns)

        monkeypatch.setattr(durable, "sync", noted)
        monkeypatch.setattr(files, "sync", noted)
        for name in ("link", "rename", "replace"):
            monkeypatch.setattr(os, name, self._checked(getattr(os, name)))
        monkeypatch.setattr(files, "_rename", self._checked(files._rename))

    def names(self, folder: Path) -> dict[str, int]:
        return {name: os.lstat(folder / name).st_ino for name in os.listdir(folder)}

    def holds(self, path: Path) -> bool:
        """Whether the content of ``path`` is on the disk, whatever names it."""
        found = path.stat()
        if path.is_dir():
            own = self.folders.get(found.st_ino) == self.names(path)
            return own and all(self.holds(path / name) for name in os.listdir(path))
        return self.files.get(found.st_ino) == (found.st_size, found.st_mtime_ns)

    def holds_name(self, path: Path) -> bool:
        return self.folders.get(path.parent.stat().st_ino, {}).get(path.name) == path.stat().st_ino

    def _checked(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(source: Path, target: Path, *more: Any) -> Any:
            if str(source).endswith(".part"):
                assert self.holds(Path(source)), f"{target} was named before its content was on the disk"
                self.named.append(Path(target))
            return call(source, target, *more)

        return checked


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("reads what a descriptor stands for from /proc")
    return Disk(monkeypatch)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_on_the_disk(tmp_path: Path, disk: Disk, overwrite: bool) -> None:
    path = tmp_path / "photo.png"
    if overwrite:
        path.write_bytes(b"old")
    with write_file(path, overwrite=overwrite) as file:
        file.write(b"new" * 100_000)
    assert disk.named == [path]
    assert disk.holds(path)
    assert disk.holds_name(path)


@pytest.mark.parametrize("renameat2", [True, False])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_on_the_disk_before_the_old_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Disk, overwrite: bool, renameat2: bool
) -> None:
    if not renameat2:
        monkeypatch.setattr(files, "_rename", lambda *_: False)
    path, remove, removed = tmp_path / "package", leftovers.remove, []

    def noted(gone: Path) -> None:
        if gone.exists():
            assert disk.holds_name(path), "the old one went before the new one's name was on the disk"
            removed.append((gone / "one").read_text())
        remove(gone)

    if overwrite:
        path.mkdir()
        (path / "one").write_text("old")
    for module in (files, leftovers):
        monkeypatch.setattr(module, "remove", noted)
    with write_folder(path, overwrite=overwrite) as work:
        (work / "one").write_text("new")
        (work / "below").mkdir()
        (work / "below/two").write_bytes(b"new" * 100_000)
    assert path in disk.named
    assert disk.holds(path)
    assert disk.holds_name(path)
    assert removed == (["old"] if overwrite else [])


def test_new_folders_are_on_the_disk(tmp_path: Path, disk: Disk) -> None:
    durable.make_folder(tmp_path / "a/b/c")
    for path in (tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/c"):
        assert disk.holds_name(path)
    durable.make_folder(tmp_path / "a/b/c")


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_what_the_disk_does_not_take_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A full network disk is told of when the file is synced, not when it is written."""

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "there").write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    for name, overwrite in (("there", True), ("new", False)):
        with pytest.raises(OSError, match=os.strerror(number)), write_file(tmp_path / name, overwrite=overwrite) as one:
            one.write(b"new")
        with pytest.raises(OSError, match=os.strerror(number)), write_folder(tmp_path / f"{name}2", overwrite=False):
            pass
    assert os.listdir(tmp_path) == ["there"]
    assert (tmp_path / "there").read_text() == "old"


def test_a_disk_that_cannot_sync_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if os.fstat(descriptor).st_mode & 0o040000:
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with write_file(tmp_path / "file", overwrite=False) as file:
        file.write(b"content")
    with write_folder(tmp_path / "folder", overwrite=False):
        pass
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
