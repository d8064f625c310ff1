"""POST /v1/enhance of a real server: photos, parameters, limits, errors, ids, metrics and the log."""

from __future__ import annotations

import io
import json
import socket
import struct

import numpy as np
import pytest
from PIL import Image

from runtime.photo import Photo, encode_photo, read_photo


def error_of(answer) -> tuple[int, str]:
    code, headers, content = answer
    assert headers["content-type"] == "application/json"
    told = json.loads(content)
    assert list(told) == ["error"]
    return code, told["error"]


@pytest.mark.parametrize("sampling", ["published", "fast"])
def test_a_photo_comes_back_as_the_runtime_makes_it(server, enhancer, dark, png, sampling):
    code, headers, content = server.send(f"/v1/enhance?sampling={sampling}", png)
    assert (code, headers["content-type"]) == (200, "image/png")
    np.testing.assert_array_equal(read_photo(content).pixels, enhancer(dark, sampling=sampling))
    assert set(headers["server-timing"].replace(";", " ").split()) >= {"queue", "decode", "engine", "encode"}


def test_16_bits_alpha_and_what_a_photo_brings_come_back(server, enhancer):
    pixels = np.random.default_rng(1).integers(0, 20_000, (24, 40, 3)).astype(np.uint16)
    exif = Image.Exif()
    exif[271] = "A phone"
    photo = Photo(pixels, pixels[..., 0], False, None, exif.tobytes(), "PNG")
    bright = read_photo(server.send("/v1/enhance", encode_photo(photo, "PNG"))[2])
    np.testing.assert_array_equal(bright.pixels, enhancer(pixels))
    np.testing.assert_array_equal(bright.alpha, photo.alpha)
    assert b"A phone" in bright.exif


def test_format_and_quality(server, png):
    sizes = []
    for quality in (20, 95):
        code, headers, content = server.send(f"/v1/enhance?format=jpg&quality={quality}&sampling=fast", png)
        assert (code, headers["content-type"]) == (200, "image/jpeg")
        assert Image.open(io.BytesIO(content)).format == "JPEG"
        sizes.append(len(content))
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    ("path", "body", "code", "words"),
    [
        ("", b"no photo", 400, "not a known photo"),
        ("", b"", 400, "it is empty"),
        ("", b"\x89PNG\r\n\x1a\n" + bytes(40), 400, "damaged"),
        ("", b"GIF89a" + bytes(40), 415, "it is a GIF"),
        ("?sampling=slow", b"x", 400, "the sampling 'slow' is not known here; use one of published, fast."),
        ("?format=gif", b"x", 400, "the format 'gif'"),
        ("?quality=0", b"x", 400, "the quality '0'"),
        ("?quality=%C2%B2", b"x", 400, "the quality"),
        ("?size=4", b"x", 400, "the parameter 'size'"),
        ("", bytes(200_001), 413, "more than 200,000 bytes"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(server, path, body, code, words):
    status, message = error_of(server.send(f"/v1/enhance{path}", body))
    assert (status, words in message) == (code, True), message


def test_a_format_that_cannot_hold_the_photo_is_refused(server):
    deep = Photo(np.zeros((8, 8, 3), np.uint16), None, False, None, None, "PNG")
    assert error_of(server.send("/v1/enhance?format=jpg", encode_photo(deep, "PNG")))[0] == 400


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "JPEG"])
def test_a_large_picture_is_told_by_its_header(server, kind):
    """But for a PNG, whose chunks are counted first, its pixels are not there: a decoder would say that it is cut."""
    file = io.BytesIO()
    Image.new("L" if kind == "JPEG" else "RGB", (400, 300)).save(file, kind)
    code, message = error_of(server.send("/v1/enhance", file.getvalue()[: None if kind == "PNG" else 400]))
    assert code == 413
    assert "it is 400 x 300 (0.1 megapixels), above the limit of 0.1 megapixels" in message


@pytest.mark.parametrize("media", ["multipart/form-data; boundary=x", "text/plain", "application/json"])
def test_bodies_of_other_types(server, png, media):
    assert error_of(server.send("/v1/enhance", png, content_type=media))[0] == 415
    assert error_of(server.send("/v1/enhance", png, content_encoding="gzip"))[0] == 415


def test_a_body_that_is_larger_than_it_says_is_counted(server):
    """In chunks, without a length: the answer comes although the rest was not read."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as line:
        line.sendall(b"POST /v1/enhance HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(40):
            line.sendall(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        line.sendall(b"0\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 413 ")


def test_routes_that_are_not_there(server):
    assert error_of(server.send("/v1/other"))[0] == 404
    assert error_of(server.send("/v1/enhance"))[0] == 405
    assert error_of(server.send("/v2/models/other"))[0] == 404


def test_request_ids_go_through(server, png):
    assert server.send("/v1/enhance", png, x_request_id="mine-1")[1]["x-request-id"] == "mine-1"
    assert server.send("/v1/enhance", b"bad", x_request_id="mine-2")[1]["x-request-id"] == "mine-2"
    own = server.send("/v2/health/live", x_request_id="two words")[1]["x-request-id"]
    assert len(own) == 32
    lines = server.log.read_text().splitlines()
    assert any(" mine-1 POST /v1/enhance 200 " in line and "engine=" in line for line in lines)
    assert any(" mine-2 POST /v1/enhance 400 " in line and "error=" in line for line in lines)


def test_metrics(server, png):
    one = 'diffll_requests_total{code="200",route="POST /v1/enhance"}'
    server.send("/v1/enhance", png)
    before, pixels = server.metric(one), server.metric("diffll_megapixels_total")
    server.send("/v1/enhance?sampling=fast", png)
    assert server.metric(one) == before + 1
    assert server.metric("diffll_megapixels_total") == pytest.approx(pixels + 48 * 32 / 1e6)
    assert server.metric('diffll_photos_total{plan="whole",sampling="fast"}') >= 1
    assert server.metric('diffll_request_seconds_count{part="engine"}') >= before
    assert server.metric("diffll_places_taken") == server.metric("diffll_queue_depth") == 0
    info = (
        'diffll_info{backend="onnxruntime",precision="fp32",providers="default",sampling="published",version="0.1.0"}'
    )
    assert server.metric(info) == server.metric("diffll_ready") == 1


def test_a_client_that_leaves_in_its_body_takes_no_place(server, png):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as line:
        line.sendall(b"POST /v1/enhance HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\nabc")
        while server.metric("diffll_places_taken") != 1:
            pass
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    while server.metric("diffll_places_taken") != 0:
        pass
    assert server.send("/v1/enhance", png)[0] == 200
