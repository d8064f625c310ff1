"""Small models, seeded: a checkpoint in the official layout and the packages built from it, once a session; and a limit
of time."""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import kept_traces
import pytest

if TYPE_CHECKING:
    from export.tracing.graphs import StageGraph

ROOT = Path(__file__).parent.parent

# Failures in the modules that test files share are shown as fully as those in the test files.
pytest.register_assert_rewrite("checkpoint_samples", "package_checks", "photo_samples")

# Test processes side by side: more threads than cores only wait for each other, spinning. Each has its own core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What test files import themselves reports to nobody either; the commands see to that on their own (test_home.py).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
if (_worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    _cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_cores[int(_worker.removeprefix("gw")) % len(_cores)]})


@pytest.fixture(scope="session")
def time_limit() -> Callable[[int], AbstractContextManager[None]]:
    """with time_limit(seconds): a hang becomes a failure."""

    @contextmanager
    def limit(seconds: int) -> Iterator[None]:
        def stop(*_: object) -> None:
            raise AssertionError(f"still running after {seconds} s")

        before = signal.signal(signal.SIGALRM, stop)
        signal.alarm(seconds)
        try:
            yield
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)

    return limit


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """make_checkpoint(levels=2, ...) -> a small random DiffLL in the official layout, EMA different from raw."""
    import torch

    from export.model import Architecture, DiffLL

    def make(seed: int = 0, *, name: str = "tiny.pth.tar", prefix: str = "module.", **arch: object) -> Path:
        shape = {"ch": 32, "ch_mult": (1, 2), "num_res_blocks": 1, "attention_levels": (1,)} | arch
        shape = {"hfrm_channels": 8, "levels": 2} | shape
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            raw = DiffLL(Architecture(**shape)).state_dict()  # type: ignore[arg-type]
            ema = {key: value + 0.02 * torch.randn_like(value) for key, value in raw.items()}
        path = tmp_path_factory.mktemp("checkpoint") / name
        config = argparse.Namespace(device=torch.device("cpu"), model=argparse.Namespace(ch=shape["ch"]))
        torch.save(
            {
                "step": 1,
                "state_dict": {prefix + key: value for key, value in raw.items()},
                "ema_helper": ema,
                "params": argparse.Namespace(sampling_timesteps=10),
                "config": config,
            },
            path,
        )
        return path

    return make


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """once("name", make) -> a path that make(path) has made, once for all the test processes of this run."""
    root = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        root = root.parent

    def path_of(name: str, make: Callable[[Path], object]) -> Path:
        path = root / "once" / name
        path.parent.mkdir(exist_ok=True)
        with (path.parent / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                make(path)
        return path

    return path_of


@pytest.fixture(scope="session")
def traces(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the traces that tests share: in pytest's cache, so that the next run finds them."""
    if pytestconfig.pluginmanager.hasplugin("cacheprovider"):
        return pytestconfig.cache.mkdir("traces")
    return tmp_path_factory.mktemp("traces")


@pytest.fixture(scope="session")
def kept_trace(traces: Path) -> Callable[[StageGraph, int], bytes]:
    """``export.tracing.trace.trace`` that looks among the kept traces first. Tests of the tracer do not take it."""
    from export.tracing.trace import trace

    return kept_traces.kept(traces, trace)


@pytest.fixture(scope="session")
def build_package(tmp_path_factory: pytest.TempPathFactory, traces: Path) -> Callable[..., Path]:
    """build_package(checkpoint) -> its package, silently, with kept traces."""
    from export.build import main

    def make(checkpoint: Path, precision: str = "fp32", output: Path | None = None) -> Path:
        name = f"{checkpoint.name.split('.')[0]}-{precision}"
        output = output or tmp_path_factory.mktemp("package") / name
        with kept_traces.builds_keep_traces(traces), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            main([str(checkpoint), "-o", str(output), "--precision", precision])
        return output

    return make


@pytest.fixture(scope="session")
def tiny_package(make_checkpoint: Callable[..., Path], once: Callable[..., Path], traces: Path) -> Path:
    """A small random network's package, built by the command with kept traces: two wavelet levels, padding to multiples
    of 8. Never change it: copy it first."""

    def command(output: Path) -> None:
        words = [sys.executable, kept_traces.__file__, str(traces), str(make_checkpoint()), "-o", str(output)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{output}\n"
        assert "certified: at most 0." in done.stderr

    return once("tiny-fp32", command)


@pytest.fixture(scope="session")
def ready_package(tiny_package: Path, once: Callable[..., Path]) -> Path:
    """The small network's package with ncnn's engines beside its graphs. Copy it before changing it."""

    def make(path: Path) -> None:
        shutil.copytree(tiny_package, path)
        command = [sys.executable, "-m", "export.engine", str(path), "--target", "ncnn"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == "5 of 5 engines built, 0 were there"

    return once("tiny-ncnn", make)


@pytest.fixture(scope="session")
def half_package(
    make_checkpoint: Callable[..., Path], build_package: Callable[..., Path], once: Callable[..., Path]
) -> Callable[[str], Path]:
    """half_package("fp16" or "bf16") -> the small network's package in that precision. Copy it before changing it."""

    def make(precision: str) -> Path:
        checkpoint = make_checkpoint()
        return once(f"tiny-{precision}", lambda output: build_package(checkpoint, precision, output))

    return make


@pytest.fixture(scope="session")
def level_package(
    make_checkpoint: Callable[..., Path], build_package: Callable[..., Path], once: Callable[..., Path]
) -> Callable[[int], Path]:
    """level_package(1 or 3) -> the package of a network with that many wavelet levels and no attention. Never change
    it: copy it first."""

    def make(levels: int) -> Path:
        checkpoint = make_checkpoint(levels=levels, ch_mult=(1,), attention_levels=(), name=f"k{levels}.pth.tar")
        return once(f"k{levels}-fp32", lambda output: build_package(checkpoint, "fp32", output))

    return make


@pytest.fixture(scope="session")
def bundled_package(build_package: Callable[..., Path], once: Callable[..., Path]) -> Path:
    """The package of the bundled checkpoint. Never change it: copy it first."""
    from export.files import bundled_checkpoint

    return once("bundled-fp32", lambda output: build_package(bundled_checkpoint(), "fp32", output))


@pytest.fixture(scope="session", autouse=True)
def signing_key(once: Callable[..., Path]) -> None:
    """The engines of the tests are signed by a key of their own: nothing is written to the home of who runs them."""
    os.environ["DIFFLL_ENGINE_KEY"] = str(once("engine.key", _signing_key))


def _signing_key(path: Path) -> None:
    path.touch(mode=0o600)
    path.write_bytes(os.urandom(32))


@pytest.fixture(scope="session", autouse=True)
def packages_ahead(request: pytest.FixtureRequest, signing_key: None) -> None:
    """Each worker of a run makes other packages first: or one would wait for the other's."""
    ahead = {"gw0": ("tiny_package", "ready_package"), "gw1": ("bundled_package", "half_package")}
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    with suppress(Exception):  # what fails is told by each test that asks for it
        for name in ahead.get(os.environ.get("PYTEST_XDIST_WORKER", ""), ()):
            if name in wanted:
                made = request.getfixturevalue(name)
                if name == "half_package":
                    made("fp16"), made("bf16")
