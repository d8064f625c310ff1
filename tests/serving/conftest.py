"""One running server for the tests of a file, of a small network's package that has `fast` too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sampled import with_samplings

from benchmarks.serving import Server, running
from runtime import Enhancer
from runtime.photo import Photo, encode_photo


@pytest.fixture(scope="session")
def served_package(tiny_package: Path, once: Callable[..., Path]) -> Path:
    return once("served", lambda path: with_samplings(tiny_package, path))


@pytest.fixture(scope="module")
def server(served_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Small limits; ready."""
    log = tmp_path_factory.mktemp("server") / "log"
    with running(served_package, log, "--max-body", "200kB", "--max-megapixels", "0.1") as started:
        started.wait_ready()
        yield started
        assert started.process.poll() is None
    assert started.process.returncode == 0
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def enhancer(served_package: Path) -> Iterator[Enhancer]:
    with Enhancer.open(served_package) as opened:
        yield opened


@pytest.fixture(scope="session")
def dark() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 80, (32, 48, 3)).astype(np.uint8)


@pytest.fixture(scope="session")
def png(dark: np.ndarray) -> bytes:
    return encode_photo(Photo(dark, None, False, None, None, "PNG"), "PNG")
