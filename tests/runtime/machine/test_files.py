"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from runtime.machine import files
from runtime.machine.files import only_ours, write_file, write_folder


def put(path: Path, content: bytes, **options: Any) -> None:
    with write_file(path, **options) as file:
        file.write(content)


def put_folder(path: Path, content: str, **options: Any) -> None:
    with write_folder(path, **options) as folder:
        (folder / "new").write_text(content)


def test_the_umask_and_the_mode_apply(tmp_path: Path) -> None:
    for mask, mode, file, folder in (
        (0o022, {}, 0o644, 0o755),
        (0o077, {}, 0o600, 0o700),
        (0o002, {"mode": 0o700}, 0o700, 0o700),
    ):
        before = os.umask(mask)
        try:
            put(tmp_path / "a", b"", overwrite=True, **mode)
            put_folder(tmp_path / "b", "", overwrite=True, **mode)
        finally:
            os.umask(before)
        assert (tmp_path / "a").stat().st_mode & 0o777 == file
        assert (tmp_path / "b").stat().st_mode & 0o777 == folder


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ZeroDivisionError])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_block_that_raises_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, error: type[BaseException], overwrite: bool
) -> None:
    if overwrite:
        (tmp_path / "file").write_bytes(b"precious")
        put_folder(tmp_path / "folder", "precious", overwrite=False)

    def write() -> None:
        with write_folder(tmp_path / "folder", overwrite=overwrite) as folder:
            (folder / "new").write_text("half")
            with write_file(tmp_path / "file", overwrite=overwrite) as file:
                file.write(b"half")
                raise error

    with pytest.raises(error):
        write()
    assert sorted(os.listdir(tmp_path)) == (["file", "folder"] if overwrite else [])
    if overwrite:
        assert (tmp_path / "file").read_bytes() == b"precious"
        assert (tmp_path / "folder/new").read_text() == "precious"


def test_what_appears_meanwhile_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    for overwrite in (False, True):
        path = tmp_path / f"file {overwrite}"
        try:
            with write_file(path, overwrite=overwrite) as file:
                file.write(b"ours")
                path.write_bytes(b"theirs")
        except FileExistsError:
            assert not overwrite
        assert path.read_bytes() == (b"ours" if overwrite else b"theirs")

        path = tmp_path / f"folder {overwrite}"
        try:
            with write_folder(path, overwrite=overwrite) as folder:
                (folder / "new").write_text("ours")
                path.mkdir()
                (path / "old").write_text("theirs")
        except FileExistsError:
            assert not overwrite
        assert os.listdir(path) == (["new"] if overwrite else ["old"])
    assert len(os.listdir(tmp_path)) == 4


def test_a_folder_that_appears_between_the_look_and_the_rename_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/old").write_text("precious")
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    with pytest.raises(OSError, match="not empty"):
        put_folder(tmp_path / "folder", "", overwrite=False)
    assert os.listdir(tmp_path / "folder") == ["old"]
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("renameat2", [False, True])
def test_a_disk_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renameat2: bool) -> None:
    def refuse(source: Any, target: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    if not renameat2:
        monkeypatch.setattr(files, "_rename", lambda one, other, flag: False)
    put(tmp_path / "a", b"1", overwrite=False)
    with pytest.raises(FileExistsError):
        put(tmp_path / "a", b"2", overwrite=False)
    assert (tmp_path / "a").read_bytes() == b"1"
    assert os.listdir(tmp_path) == ["a"]
    if not renameat2:
        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(PermissionError):
            put(tmp_path / "b", b"", overwrite=False)
        assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
@pytest.mark.parametrize("done", [False, True])
def test_a_folder_comes_back_when_the_second_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, done: bool
) -> None:
    """done: the interrupt comes when the new folder is in place already."""
    put_folder(tmp_path / "folder", "old", overwrite=False)
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        second = source.name.endswith(".part")
        if not second or done:
            rename(source, target)
        if second:
            raise error

    monkeypatch.setattr(files, "_swap", lambda one, other: False)
    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(type(error)):
        put_folder(tmp_path / "folder", "new", overwrite=True)
    assert (tmp_path / "folder/new").read_text() == ("new" if done else "old")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_a_folder_is_never_away_while_it_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_folder(tmp_path / "folder", "old", overwrite=False)
    monkeypatch.setattr(os, "rename", None)
    put_folder(tmp_path / "folder", "new", overwrite=True)
    assert (tmp_path / "folder/new").read_text() == "new"
    assert os.listdir(tmp_path) == ["folder"]


def test_a_link_is_replaced_and_what_it_names_is_kept(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/file").write_text("precious")
    (tmp_path / "folder").symlink_to("home")
    (tmp_path / "file").symlink_to("home/file")
    put_folder(tmp_path / "folder", "", overwrite=True)
    put(tmp_path / "file", b"", overwrite=True)
    assert (tmp_path / "home/file").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "home"]
    assert not (tmp_path / "folder").is_symlink()


def test_threads_of_one_process_do_not_meet(tmp_path: Path) -> None:
    everybody = threading.Barrier(4)

    def work(number: int) -> None:
        with (
            write_file(tmp_path / "file", overwrite=True) as file,
            write_folder(tmp_path / str(number), overwrite=False),
        ):
            file.write(b"%d" % number)
            everybody.wait(10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2", "3", "file"]


def test_the_longest_name(tmp_path: Path) -> None:
    for name in ("é" * 127, "\N{GRINNING FACE}" * 63):
        put(tmp_path / name, b"", overwrite=False)
        put(tmp_path / name, b"", overwrite=True)
    assert len(os.listdir(tmp_path)) == 2


def test_only_ours(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    for mode, expected in ((0o644, True), (0o600, True), (0o664, False), (0o646, False)):
        path.chmod(mode)
        assert only_ours(path.stat()) is expected
    path.chmod(0o600)
    other = list(path.stat())
    other[4] = os.getuid() + 1
    assert not only_ours(os.stat_result(other))
