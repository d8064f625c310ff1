"""The Open Inference Protocol, version 2: by NVIDIA's client, and by hand where that sends nothing wrong."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from runtime.photo import read_photo

http = pytest.importorskip("tritonclient.http", reason="pip install 'tritonclient[http]'")


@pytest.fixture(scope="module")
def client(server):
    with http.InferenceServerClient(f"127.0.0.1:{server.port}") as opened:
        yield opened


def of(name: str, array: np.ndarray, kind: str, *, binary: bool = True):
    given = http.InferInput(name, list(array.shape), kind)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("diffll")
    assert client.is_model_ready("diffll", "1")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    told = client.get_model_metadata("diffll")
    assert [one["datatype"] for one in told["inputs"]] == ["BYTES", "UINT8", "FP32"]
    assert told["parameters"]["samplings"] == ["published", "fast"]
    assert told["platform"] == "diffll_onnxruntime"


@pytest.mark.parametrize("sampling", ["published", "fast"])
def test_photos_as_bytes(client, enhancer, dark, png, sampling):
    given = of("image", np.array([png], object), "BYTES")
    done = client.infer("diffll", [given], request_id="7", parameters={"sampling": sampling})
    assert done.get_response()["id"] == "7"
    np.testing.assert_array_equal(read_photo(done.as_numpy("enhanced")[0]).pixels, enhancer(dark, sampling=sampling))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("lead", [(), (1,)])
def test_tensors(client, enhancer, dark, binary, lead):
    wanted = enhancer(dark)
    done = client.infer(
        "diffll",
        [of("image_uint8", dark.reshape(*lead, *dark.shape), "UINT8", binary=binary)],
        outputs=[http.InferRequestedOutput("enhanced_uint8", binary_data=binary)],
    ).as_numpy("enhanced_uint8")
    np.testing.assert_array_equal(done, wanted.reshape(*lead, *dark.shape))

    floats = (dark.transpose(2, 0, 1) / np.float32(255)).astype(np.float32)
    done = client.infer(
        "diffll",
        [of("image_float32", floats.reshape(*lead, *floats.shape), "FP32", binary=binary)],
        outputs=[http.InferRequestedOutput("enhanced_float32", binary_data=binary)],
    ).as_numpy("enhanced_float32")
    assert done.shape == (*lead, 3, 32, 48)
    deep = enhancer(np.round(floats.transpose(1, 2, 0) * 65535).astype(np.uint16))
    np.testing.assert_array_equal(np.round(done.reshape(floats.shape).transpose(1, 2, 0) * 65535), deep)
    assert np.abs(done.reshape(floats.shape).transpose(1, 2, 0) * 255 - wanted).max() < 0.51


def infer(server, body: object, **headers: str) -> tuple[int, dict]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    code, _, content = server.send("/v2/models/diffll/infer", content, **headers)
    return code, json.loads(content)


def test_a_photo_in_json_is_base64(server, enhancer, dark, png):
    text = base64.b64encode(png).decode()
    code, told = infer(server, {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}]})
    assert code == 200
    photo = read_photo(base64.b64decode(told["outputs"][0]["data"][0]))
    np.testing.assert_array_equal(photo.pixels, enhancer(dark))


IMAGE = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["AAAA"]}
PIXELS = {"name": "image_uint8", "datatype": "UINT8", "shape": [1, 1, 3], "data": [1, 2, 3]}
FLOATS = {"name": "image_float32", "datatype": "FP32", "shape": [3, 1, 1], "data": [0, 0.5, 1]}


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"{", 400, "not JSON"),
        (b"[" * 100_000, 400, "nested too deeply"),
        ([], 400, "not an object"),
        ({}, 400, "one input is wanted"),
        ({"inputs": [IMAGE, PIXELS]}, 400, "one input is wanted"),
        ({"inputs": [IMAGE | {"name": "other"}]}, 400, "the input 'other'"),
        ({"inputs": [IMAGE | {"datatype": "FP32"}]}, 400, "has the datatype BYTES"),
        ({"inputs": [IMAGE | {"data": ["?"]}]}, 400, "not base64"),
        ({"inputs": [IMAGE]}, 400, "not a known photo"),
        ({"inputs": [IMAGE | {"data": [base64.b64encode(b"GIF89a").decode()]}]}, 415, "it is a GIF"),
        ({"inputs": [PIXELS | {"shape": [1, 2, 3]}]}, 400, "its shape asks for 6"),
        ({"inputs": [PIXELS | {"shape": [1, True, 3]}]}, 400, "wanted: [-1, -1, 3]"),
        ({"inputs": [PIXELS | {"shape": [3, 1, 1]}]}, 400, "wanted: [-1, -1, 3]"),
        ({"inputs": [PIXELS | {"data": [1, 2, 256]}]}, 400, "whole numbers from 0 to 255"),
        ({"inputs": [PIXELS | {"data": [[1, 2], [3]]}]}, 400, "different lengths"),
        ({"inputs": [PIXELS | {"shape": [1000, 1000, 3]}]}, 413, "1000 x 1000 pixels"),
        ({"inputs": [FLOATS | {"data": [0, 1, 255.0]}]}, 400, "outside of 0 to 1"),
        ({"inputs": [PIXELS], "parameters": {"sampling": "slow"}}, 400, "the sampling 'slow'"),
        ({"inputs": [PIXELS], "parameters": {"sampling": []}}, 400, "the sampling []"),
        ({"inputs": [PIXELS], "parameters": 3}, 400, "`parameters`"),
        ({"inputs": [PIXELS], "outputs": [{"name": "enhanced"}]}, 400, "use `enhanced_uint8`"),
        ({"inputs": [PIXELS | {"parameters": {"binary_data_size": 3}}]}, 400, "0 bytes follow the JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_a_sentence(server, body, code, words):
    status, told = infer(server, body)
    assert (status, words in told["error"]) == (code, True), told


@pytest.mark.parametrize("length", ["x", "-1", "99999", "9" * 30])
def test_lengths_are_not_trusted(server, length):
    assert infer(server, {"inputs": [PIXELS]}, inference_header_content_length=length)[0] == 400


def test_small_requests_in_json(server):
    code, told = infer(server, {"inputs": [PIXELS], "parameters": {"sampling": "fast"}})
    assert (code, told["outputs"][0]["shape"], len(told["outputs"][0]["data"])) == (200, [1, 1, 3], 3)
    code, told = infer(server, {"inputs": [FLOATS]})
    assert code == 200
    assert all(0 <= value <= 1 for value in told["outputs"][0]["data"])
