"""docs/embedding.md's service: the page's own code is started and is sent photos, and what is none."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime import Enhancer
from runtime.photo import Photo, encode_photo, read_photo

ROOT = Path(__file__).resolve().parents[1]
Answer = tuple[int, str, bytes]


def printed() -> str:
    section = (ROOT / "docs/embedding.md").read_text().partition("\n## A service\n")[2]
    block = re.search(r"```python\n(.*?)```", section, re.S)
    assert block
    return block[1]


@pytest.fixture(scope="module")
def port(tiny_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of the service, which runs as on a device: the runtime is ``diffll``, the package is in the working folder."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "diffll").symlink_to(ROOT / "runtime")
    (folder / "diffll-fp32").symlink_to(tiny_package)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    code = printed()
    for word, other in (('("127.0.0.1", 8000)', f'("127.0.0.1", {number})'), ('"HTTP/1.1", 30 ', '"HTTP/1.1", 2 ')):
        assert code.count(word) == 1
        code = code.replace(word, other)
    (folder / "service.py").write_text(code)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "service.py"], cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, stderr=log
        )
    try:
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", number)):
                break
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield number
        assert server.poll() is None
        assert "Traceback" not in (folder / "log").read_text()
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def enhancer(tiny_package: Path) -> Iterator[Enhancer]:
    with Enhancer.open(tiny_package) as opened:
        yield opened


def post(port: int, body: bytes) -> Answer:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/", body)
    return told(connection.getresponse())


def told(response: HTTPResponse) -> Answer:
    return response.status, response.headers["Content-Type"], response.read()


def raw(port: int, request: bytes, *, end: bool = True) -> Answer:
    """What comes back for the bytes of a request. end: nothing more will come."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        if end:
            connection.shutdown(socket.SHUT_WR)
        response = HTTPResponse(connection)
        response.begin()
        return told(response)


def scene(height: int, width: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(5).integers(0, np.iinfo(dtype).max // 3, (height, width, 3)).astype(dtype)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def assert_bright(answer: Answer, photo: Photo, enhancer: Enhancer) -> Photo:
    status, kind, content = answer
    assert (status, kind) == (200, "image/png"), content
    bright = read_photo(content)
    assert bright.pixels.dtype == photo.pixels.dtype
    np.testing.assert_array_equal(bright.pixels, enhancer(photo.pixels))
    return bright


def test_a_phones_photo_comes_back_upright(port: int, enhancer: Enhancer) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = 6, "A phone"
    stored = Image.fromarray(scene(24, 40))
    answer = post(port, saved(stored, "JPEG", exif=exif, quality=95))
    upright = np.asarray(
        Image.open(io.BytesIO(saved(stored, "JPEG", quality=95))).transpose(Image.Transpose.ROTATE_270)
    )
    assert upright.shape == (40, 24, 3)
    bright = Image.open(io.BytesIO(answer[2]))
    np.testing.assert_array_equal(np.asarray(bright), enhancer(np.ascontiguousarray(upright)))
    assert bright.getexif()[271] == "A phone"
    assert bright.getexif().get(274, 1) == 1


def test_16_bits_and_alpha_come_back(port: int, enhancer: Enhancer) -> None:
    alpha = scene(24, 40, np.uint16)[..., 0]
    deep = Photo(scene(24, 40, np.uint16), alpha, grey=False, icc_profile=None, exif=None, format="PNG")
    bright = assert_bright(post(port, encode_photo(deep, "PNG")), deep, enhancer)
    np.testing.assert_array_equal(bright.alpha, alpha)


def test_a_bomb_is_answered(port: int) -> None:
    bomb = saved(Image.new("1", (20_000, 20_000)), "PNG")
    assert len(bomb) < 100_000
    status, kind, content = post(port, bomb)
    assert (status, kind) == (400, "text/plain; charset=utf-8")
    assert b"it is 20000 x 20000 (400.0 megapixels), above the limit of 24.0 megapixels" in content


@pytest.mark.parametrize("body", [b"", b"no photo", b"\xff\xd8\xff\xe0" + bytes(50), "schön".encode() * 99])
def test_what_is_no_photo_is_answered(port: int, body: bytes) -> None:
    status, _, content = post(port, body)
    assert status == 400
    assert content.startswith(b"cannot read the photo: ")


@pytest.mark.parametrize(
    ("lengths", "status"),
    [
        ([], 411),
        (["many"], 411),
        (["-5"], 411),
        (["+5"], 411),
        (["5", "5"], 411),
        (["9" * 5000], 411),
        (["33554433"], 413),
        (["999999999999999"], 413),
        (["6"], 400),  # one byte never comes
        (["4"], 400),  # one byte too many
    ],
)
def test_lengths_are_not_trusted(port: int, lengths: list[str], status: int) -> None:
    head = "".join(f"Content-Length: {length}\r\n" for length in lengths)
    assert raw(port, f"POST / HTTP/1.1\r\nHost: here\r\n{head}\r\nabcde".encode())[0] == status


def test_a_client_that_stops_is_told_so(port: int) -> None:
    status, _, content = raw(port, b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabcde", end=False)
    assert (status, content) == (408, b"the rest of the body did not come\n")


def test_a_body_too_large_is_answered_while_it_is_sent(port: int) -> None:
    status, _, content = post(port, bytes((32 << 20) + 1))
    assert (status, content) == (413, b"the photo has more than 33554432 bytes\n")


def test_photos_at_the_same_time(port: int, enhancer: Enhancer) -> None:
    photos = [read_photo(saved(Image.fromarray(scene(16 + side, 24)), "PNG")) for side in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda photo: post(port, encode_photo(photo, "PNG")), photos))
    for answer, photo in zip(answers, photos, strict=True):
        assert_bright(answer, photo, enhancer)
