"""Which engines are taken: those that this user's own builds made, and nobody else can write to; and what is said of
the others. The cures are typed as they stand."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from runtime.doctor.checks import check_engines
from runtime.engines import entry
from runtime.engines.cache import EngineCache, EngineKey
from runtime.engines.entry import Engine
from runtime.engines.fit import Machine, needed, usable
from runtime.engines.libraries import load
from runtime.engines.signing import VARIABLE
from runtime.errors import DiffLLError, EngineError
from runtime.machine import regular
from runtime.package.reading import Package

ROOT = Path(__file__).parent.parent.parent.parent
TARGET = "cuda"  # whose engines are built in a moment
POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
ROOT_ONLY = pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="gives files to another user")
NOBODY = 65534


@pytest.fixture(scope="session")
def with_engines(tiny_package: Path, once: Callable[..., Path]) -> Path:
    def make(path: Path) -> None:
        shutil.copytree(tiny_package, path)
        build(path)

    return once("tiny-cuda", make)


@pytest.fixture
def package(with_engines: Path, tmp_path: Path) -> Package:
    return Package.open(shutil.copytree(with_engines, tmp_path / "my package"))


def here() -> Machine:
    return Machine({TARGET: load("onnxruntime", "the test").__version__})


def build(path: Path, *more: str) -> str:
    """What the builder says, or how its error reads."""
    from export.engine import main

    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
        try:
            assert main([str(path), "--target", TARGET, *more]) == 0
        except DiffLLError as error:
            return f"error: {error}"
    return said.getvalue()


def engine_of(package: Package, stage: str = "denoiser") -> Engine:
    (engine,) = EngineCache(package.path).entries(stage, TARGET)
    return engine


def taken(package: Package) -> list[str]:
    return sorted(engine.key["stage"] for engine in EngineCache(package.path).entries())


def refused(package: Package) -> str:
    """What a backend is told that wants the denoiser's engine."""
    with pytest.raises(EngineError) as error:
        needed(package, "denoiser", TARGET, here())
    return str(error.value)


def typed(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Type the line into a shell that stands in ``folder``."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def edit(engine: Engine, change: Callable[[dict], object]) -> None:
    document = engine.path / "engine.json"
    content = json.loads(document.read_text())
    change(content)
    document.write_text(json.dumps(content))


def foreign_graph(package: Package) -> None:
    """Another graph in the denoiser's place, its hash mended."""
    from hashlib import sha256

    engine = engine_of(package)
    graph = (package.path / "idwt.onnx").read_bytes()
    (engine.path / "engine.onnx").write_bytes(graph)
    mended = {"sha256": sha256(graph).hexdigest(), "bytes": len(graph)}
    edit(engine, lambda content: content["files"].update({"engine.onnx": mended}))


def linked_cache(package: Package) -> None:
    cache = package.path / "engines"
    cache.rename(package.path.parent / "elsewhere")
    cache.symlink_to(package.path.parent / "elsewhere")


def linked_entry(package: Package) -> None:
    path = engine_of(package).path
    kept = path.rename(package.path.parent / "kept")
    path.symlink_to(kept)


def linked_file(package: Package) -> None:
    file = engine_of(package).path / "engine.onnx"
    kept = file.rename(file.with_name("kept"))
    file.symlink_to(kept)


CAUSES: dict[str, tuple[Callable[[Package], object], str]] = {
    "another graph": (foreign_graph, "changed after the build"),
    "edited": (
        lambda one: edit(engine_of(one), lambda content: content["report"].update(build_seconds=7)),
        "changed after the build",
    ),
    "not signed": (lambda one: edit(engine_of(one), lambda content: content.pop("signature")), "not signed"),
    "damaged": (lambda one: (engine_of(one).path / "engine.json").write_text("{"), "not whole JSON"),
    "linked cache": (linked_cache, "a link or a file"),
    "linked entry": (linked_entry, "a symbolic link"),
    "linked file": (linked_file, "a symbolic link"),
    "cache for all": (lambda one: (one.path / "engines").chmod(0o777), "others can write to it"),
    "entry for all": (lambda one: engine_of(one).path.chmod(0o777), "others can write to it"),
    "file for all": (lambda one: (engine_of(one).path / "engine.onnx").chmod(0o666), "others can write to it"),
    "entry for the group": (lambda one: (engine_of(one).path / "engine.json").chmod(0o664), "others can write to it"),
}


@POSIX
@pytest.mark.parametrize("cause", CAUSES)
def test_what_is_not_taken_is_told_with_a_cure_that_works(package, cause, monkeypatch):
    assert needed(package, "denoiser", TARGET, here())
    damage, reason = CAUSES[cause]
    damage(package)
    message = refused(package)
    assert reason in message
    assert "no cuda engine" not in message
    assert any(reason in line for line in usable(package, "denoiser", TARGET, here())[1])
    checks = [check for check in check_engines(package, None, {"onnxruntime": here().versions[TARGET]}) if check.fix]
    assert all(check.verdict == "problem" for check in checks)
    assert any(reason in check.detail for check in checks)
    told = build(package.path)
    if reason in ("changed after the build", "not signed"):  # as good as an older one
        assert reason in told
        assert told.splitlines()[-1] == "1 of 5 engines built, 4 were there"
        return
    assert told.startswith("error: ")
    assert reason in told
    line = re.search(r"`(.*?)`", message)[1]
    assert f"`{line}`" in told
    typed(line, package.path.parent, monkeypatch)
    engine = needed(package, "denoiser", TARGET, here())[0]
    assert engine.read("engine.onnx")
    assert build(package.path).splitlines()[-1].startswith("0 of 5 engines built")


@POSIX
def test_the_doctors_cure_for_what_does_not_say_what_it_is(package, monkeypatch):
    def problems() -> list[str]:
        return [
            check.fix for check in check_engines(package, None, {"onnxruntime": here().versions[TARGET]}) if check.fix
        ]

    for cause in ("damaged", "linked cache"):
        CAUSES[cause][0](package)
        (line,) = problems()
        typed(line, package.path.parent, monkeypatch)
        assert problems() == []
        if cause == "damaged":
            build(package.path)


@POSIX
@ROOT_ONLY
@pytest.mark.parametrize("place", ["engines", "entry", "file"])
def test_another_users_engines_are_not_taken_and_a_copy_gets_its_own(package, place, monkeypatch):
    entry = engine_of(package).path
    os.chown({"engines": entry.parent, "entry": entry, "file": entry / "engine.onnx"}[place], NOBODY, NOBODY)
    message = refused(package)
    assert "belongs to nobody, and this is root" in message
    line = re.search(r"`(.*?)`", message)[1]
    assert f"`{line}`" in build(package.path)
    typed(line, package.path.parent, monkeypatch)
    copy = Package.open(package.path.parent / "my package-root")
    assert needed(copy, "denoiser", TARGET, here())


@POSIX
@ROOT_ONLY
def test_engines_of_root_are_told_to_a_service_and_taken_with_a_shared_key(package, tmp_path_factory):
    for folder in (*tmp_path_factory.getbasetemp().parents, *package.path.parents):
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 1:
            pytest.skip(f"{folder} is closed to other users")
    code = (
        "import os, sys\nos.setgid(65534)\nos.setuid(65534)\n"
        "from runtime.engines.cache import EngineCache\nfrom pathlib import Path\n"
        "taken, others = EngineCache(Path(sys.argv[1])).look('denoiser')\n"
        "print(len(taken), [one.reason for one in others])\n"
    )

    def service(**environment: str) -> str:
        command = [sys.executable, "-c", code, str(package.path)]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout or done.stderr

    assert "built elsewhere or by another user: this user has no key yet" in service(**{VARIABLE: "/nonexistent/key"})
    key = Path(shutil.copyfile(os.environ[VARIABLE], package.path.parent / "key"))
    key.chmod(0o640)
    assert "cannot be read (Permission denied)" in service(**{VARIABLE: str(key)})
    os.chown(key, 0, NOBODY)
    assert service(**{VARIABLE: str(key)}) == "1 []\n"


def hole(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 << 30)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's name has 107 bytes
        one.bind(path.name)
        os.chdir(here)


ODD: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo if hasattr(os, "mkfifo") else Path.touch,
    "folder": Path.mkdir,
    "socket": listening,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "3 GiB": hole,
    "deep": lambda path: path.write_text('{"key": ' + "[" * 30_000),
    "loop": lambda path: path.symlink_to(path.name),
}


@POSIX
@pytest.mark.parametrize("name", ["engine.json", "engine.onnx"])
@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_of_a_build_is_told_at_once(package, kind, name, time_limit):
    engine = engine_of(package)
    (engine.path / name).unlink()
    ODD[kind](engine.path / name)
    with time_limit(5):
        others = EngineCache(package.path).look()[1]
        if name == "engine.json":
            assert len(others) == 1
        else:
            with pytest.raises(EngineError, match="--rebuild"):
                needed(package, "denoiser", TARGET, here())[0].read(name)
        assert taken(package)[-3:] == ["hfrm0", "hfrm1", "idwt"]
        assert build(package.path).startswith("error: ")
    assert build(package.path, "--rebuild").splitlines()[-1] == "5 of 5 engines built, 0 were there"
    assert needed(package, "denoiser", TARGET, here())[0].read("engine.onnx")


@POSIX
@pytest.mark.parametrize("name", ["engine.onnx", "engine.json"])
def test_an_engine_that_cannot_be_read_has_its_own_cure(package, monkeypatch, name):
    """Root reads everything: the system's answer is played."""
    place, read = engine_of(package).path / name, regular.read_regular

    def refuse(path: Path, limit: int, **more: bool) -> object:
        if path == place:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, limit, **more)

    monkeypatch.setattr(entry, "read_regular", refuse)
    cure = re.escape(
        f"Permission denied). Give yourself the right to read it: `chmod -R u+rwX '{package.path}/engines'`"
    )
    with pytest.raises(EngineError, match=cure):
        EngineCache(package.path).find(EngineKey(**engine_key(package)))


def engine_key(package: Package) -> dict[str, object]:
    (found,) = (json.loads(one.read_text())["key"] for one in package.path.glob("engines/*/engine.json")
                if json.loads(one.read_text())["key"]["stage"] == "denoiser")  # fmt: skip
    return found
