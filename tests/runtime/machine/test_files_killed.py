"""What is there after a process was killed at any of its changes to the disk, and after the next run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from runtime.machine import durable, files, leftovers
from runtime.machine.files import write_file, write_folder
from runtime.machine.leftovers import tidy

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a fork at its Nth call")
ROOT = Path(__file__).parents[3]
CALLS = ("link", "rename", "replace", "unlink", "rmdir", "mkdir", "open")


def no_sync(descriptor: int) -> None:
    """A kill loses nothing that the system has: without the wait for the disk."""


def put_file(path: Path, text: str, *, overwrite: bool) -> None:
    with write_file(path, overwrite=overwrite) as file:
        file.write(text.encode())


def put_folder(path: Path, text: str, *, overwrite: bool) -> None:
    with write_folder(path, overwrite=overwrite) as folder:
        (folder / "one").write_text(text)
        (folder / "below").mkdir()
        (folder / "below/two").write_text(text)


def content(path: Path) -> list[str]:
    """The texts in it; nothing where it is not there."""
    if path.is_dir():
        return [(path / name).read_text() if (path / name).exists() else "" for name in ("one", "below/two")]
    return [path.read_text()] if path.exists() else []


def in_fork(work: Callable[[], object]) -> int:
    """The exit code of a process that does ``work``: negative where a signal ended it."""
    child = os.fork()
    if child == 0:
        try:
            leftovers._tidied.clear()  # as in a new process
            work()
        finally:
            os._exit(int(sys.exc_info()[0] is not None))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Do ``work`` in a process that is killed at its ``number``-th call that opens, syncs, makes, names or removes a
    file; False where it has fewer."""
    left = number

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return wrapped

    def run() -> None:
        for name in CALLS:
            setattr(os, name, dying(getattr(os, name)))
        files._rename = dying(files._rename)
        files.sync = durable.sync = dying(durable.sync)
        work()

    code = in_fork(run)
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize(
    ("put", "replaced", "renameat2", "name"),
    [
        (put_file, False, True, "photo.png"),
        (put_file, True, True, "photo.png"),
        (put_folder, False, True, "folder"),
        (put_folder, True, True, "folder"),
        (put_folder, True, False, "folder"),
        (put_folder, True, False, "é" * 90),
    ],
)
def test_killed_anywhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    put: Callable[..., None],
    replaced: bool,
    renameat2: bool,
    name: str,
) -> None:
    monkeypatch.setattr(files, "sync", no_sync)
    monkeypatch.setattr(durable, "sync", no_sync)
    if not renameat2:
        monkeypatch.setattr(files, "_rename", lambda one, other, flag: False)
    old, new = ([text] if put is put_file else [text] * 2 for text in ("old", "new"))
    seen, path, number = [], tmp_path / name, 1
    if replaced:
        put(path, "old", overwrite=False)
    while killed_at(number, lambda: put(path, "new", overwrite=replaced)):
        seen.append(content(path))
        leftovers._tidied.clear()
        if put is put_folder and replaced and not renameat2 and not path.exists():  # between the two renames
            assert len(os.listdir(tmp_path)) == 2
            tidy(tmp_path)
            assert content(path) == new
        assert content(path) in ([old, new] if replaced else [[], new])
        leftovers._tidied.clear()
        with suppress(FileExistsError):  # a new file was there already
            put(path, "old", overwrite=replaced)
        assert os.listdir(tmp_path) == [name]
        if not replaced:
            leftovers.remove(path)
        number += 1
    assert number > 6, "few calls were met"
    assert new in seen
    assert (old if replaced else []) in seen


def test_what_a_living_process_works_on_is_kept(tmp_path: Path) -> None:
    with write_folder(tmp_path / "one", overwrite=False) as one, write_file(tmp_path / "two", overwrite=False) as two:
        (one / "content").write_text("half")
        two.write(b"half")
        working = sorted(os.listdir(tmp_path))
        assert len(working) == 2
        assert in_fork(lambda: put_file(tmp_path / "three", "", overwrite=False)) == 0
        assert sorted(os.listdir(tmp_path)) == [*working, "three"]
    assert sorted(os.listdir(tmp_path)) == ["one", "three", "two"]


def test_only_leftovers_of_ours_go(tmp_path: Path) -> None:
    """Others' names, links, pipes and, for a day, what another kernel made are kept."""
    here, away, random = leftovers._kernel(), "0" * 8, "0123456789abcdef"
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "notes").write_text("precious")
    place = tmp_path / "place"
    place.mkdir()
    kept = [".a.part", ".a.1.part", ".a.1.tmp", f"a.{here}-{random}.part", f".a.{here}-{random}.part2", "b"]
    kept += [f".away.{away}-{random}.part", f".undated.{random}.part"]
    for name in kept:
        (place / name).write_text("")
    (place / f".link.{here}-{random}.part").symlink_to(secret)
    os.mkfifo(place / f".pipe.{here}-{random}.part")
    left = place / f".left.{here}-{random}.part"
    left.mkdir()
    (left / "link").symlink_to(secret)
    long_ago = place / f".long.{away}-{random}.part"
    long_ago.write_text("")
    os.utime(long_ago, (0, 0))
    assert in_fork(lambda: tidy(place)) == 0
    kept += [f".link.{here}-{random}.part", f".pipe.{here}-{random}.part"]
    assert sorted(os.listdir(place)) == sorted(kept)
    assert (secret / "notes").read_text() == "precious"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="root alone gives files away")
def test_what_another_user_left_is_kept(tmp_path: Path) -> None:
    left = tmp_path / f".left.{leftovers._kernel()}-0123456789abcdef.part"
    left.write_text("")
    os.chown(left, 1, -1)
    assert in_fork(lambda: tidy(tmp_path)) == 0
    assert left.exists()


def test_scratch_folders_of_killed_processes_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers.tempfile, "tempdir", str(tmp_path))

    def use(kill: bool) -> None:
        with leftovers.scratch_folder("test") as folder:
            (folder / "big").write_text("content")
            if kill:
                os.kill(os.getpid(), signal.SIGKILL)

    with leftovers.scratch_folder("test") as mine:
        assert in_fork(lambda: use(True)) == -signal.SIGKILL
        (tmp_path / "diffll-test-notes").mkdir()
        assert len(os.listdir(tmp_path)) == 3
        assert in_fork(lambda: use(False)) == 0
        assert sorted(os.listdir(tmp_path)) == sorted([mine.name, "diffll-test-notes"])
    assert os.listdir(tmp_path) == ["diffll-test-notes"]


def test_one_process_alone_in_a_folder(tmp_path: Path) -> None:
    def enter() -> None:
        try:
            with leftovers.alone_in(tmp_path / "state"):
                pass
        except BlockingIOError:
            os._exit(3)

    with leftovers.alone_in(tmp_path / "state"):
        assert in_fork(enter) == 3
    assert in_fork(enter) == 0


def test_two_containers_with_the_same_process_id_keep_each_others_work(tmp_path: Path) -> None:
    """Both build one name in a folder that they share; a third, that was killed, is cleaned up behind."""
    container = ["unshare", "--pid", "--fork", "--mount-proc"]
    if os.geteuid() != 0 or shutil.which("unshare") is None or subprocess.run([*container, "true"]).returncode:
        pytest.skip("needs root's unshare")
    code = (
        "import os, sys; from pathlib import Path; from runtime.machine.files import write_folder\n"
        "with write_folder(Path(sys.argv[1]), overwrite=False) as work:\n"
        "    (work / 'content').write_text(sys.argv[2]); print(os.getpid(), flush=True); sys.stdin.readline()\n"
    )

    def start(text: str) -> subprocess.Popen[str]:
        words = [*container, "--kill-child", sys.executable, "-c", code, str(tmp_path / "package"), text]
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        return process

    killed, first = start("killed"), start("first")
    assert len(os.listdir(tmp_path)) == 2
    killed.kill()
    killed.communicate(timeout=20)
    second = start("second")
    assert len(os.listdir(tmp_path)) == 2, "the killed one's is gone, the living one's is there"
    first.communicate("\n", timeout=20)
    assert first.returncode == 0
    assert "package exists already" in second.communicate("\n", timeout=20)[1]
    assert os.listdir(tmp_path) == ["package"]
    assert (tmp_path / "package/content").read_text() == "first"
