"""The model repository; and where DIFFLL_TRITON names a running tritonserver of one (tests/triton.sh), its pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime import Enhancer
from runtime.photo import Photo, encode_photo, read_photo

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "assets/sample.png"
there = pytest.mark.skipif("DIFFLL_TRITON" not in os.environ, reason="no tritonserver: `bash tests/triton.sh` runs one")


def command(*words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "serving.triton", *map(str, words)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_repository_needs_nothing_of_the_checkout(served_package, tmp_path):
    repository, file = tmp_path / "models", tmp_path / "single.onnx"
    file.write_bytes(b"a graph")
    done = command(served_package, "-o", repository, "--sampling", "fast", "--single", file)
    assert (done.returncode, done.stdout) == (0, f"{repository}\n"), done.stderr
    version = repository / "diffll" / "1"
    out = tmp_path / "bright.png"
    # The runtime that lies in it runs the package that lies in it.
    line = [sys.executable, "-m", "diffll", "package", SAMPLE, "-o", out, "--sampling", "fast"]
    ran = subprocess.run(line, cwd=version, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    with Enhancer.open(served_package) as enhancer:
        np.testing.assert_array_equal(read_photo(out).pixels, enhancer(read_photo(SAMPLE).pixels, sampling="fast"))
    golden = (repository / "diffll" / "warmup" / "golden").read_bytes()
    assert int.from_bytes(golden[:4], "little") == len(golden) - 4
    assert read_photo(golden[4:]).format == "PNG"
    assert (repository / "diffll_onnx" / "1" / "model.onnx").read_bytes() == b"a graph"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--sampling", "slow"), "no sampling 'slow'"),
        (("--single", "none.onnx"), "none.onnx is no file"),
        ((), "is there already"),
    ],
)
def test_mistakes_write_nothing(served_package, tmp_path, words, told):
    output = tmp_path / "models"
    if not words:
        output.mkdir()
    done = command(served_package, "-o", output, *words)
    assert (done.returncode, done.stderr[:7], told in done.stderr) == (2, "error: ", True), done.stderr
    assert not output.exists() or not list(output.iterdir())


@pytest.fixture(scope="module")
def triton():
    http = pytest.importorskip("tritonclient.http")
    with http.InferenceServerClient(os.environ["DIFFLL_TRITON"], network_timeout=120) as client:

        def ask(content: bytes, **parameters: object) -> bytes:
            given = http.InferInput("image", [1], "BYTES")
            given.set_data_from_numpy(np.array([content], object))
            return client.infer("diffll", [given], parameters=parameters).as_numpy("enhanced")[0]

        yield ask


@there
@pytest.mark.parametrize("sampling", ["published", "fast"])
def test_tritons_pictures_are_the_runtimes(triton, sampling):
    """The package that it serves is the one of DIFFLL_TRITON_PACKAGE."""
    with Enhancer.open(os.environ["DIFFLL_TRITON_PACKAGE"]) as enhancer:
        for size in ((451, 300), (97, 61), (1, 1)):
            pixels = np.asarray(Image.open(SAMPLE).convert("RGB").resize(size))
            photo = encode_photo(Photo(pixels, None, False, None, None, "PNG"), "PNG")
            bright = read_photo(triton(photo, sampling=sampling))
            np.testing.assert_array_equal(bright.pixels, enhancer(pixels, sampling=sampling))


@there
def test_triton_tells_what_is_wrong_and_goes_on(triton):
    from tritonclient.utils import InferenceServerException

    for content, parameters, told in [
        (b"no photo", {}, "not a known photo"),
        (SAMPLE.read_bytes(), {"sampling": "slow"}, "no sampling 'slow'"),
        (SAMPLE.read_bytes(), {"format": "gif"}, "the format 'gif'"),
    ]:
        with pytest.raises(InferenceServerException, match=told):
            triton(content, **parameters)
    assert read_photo(triton(SAMPLE.read_bytes(), format="jpg", quality=50)).format == "JPEG"
