"""The page in a real browser: a photo goes in by the file chooser, the result is seen, compared and saved."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import chromium
import numpy as np
import pytest
from PIL import Image

from runtime.photo import read_photo

SAMPLE = Path(__file__).parents[2] / "assets/sample.png"
pytestmark = pytest.mark.skipif(chromium.PATH is None, reason="no chromium is installed here")
DONE = "!document.getElementById('result').hidden"


@pytest.fixture(scope="module")
def page(server, tmp_path_factory):
    with chromium.browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.open(f"http://127.0.0.1:{server.port}/")
        opened.size(1000, 900)
        yield opened
        # nothing was loaded from elsewhere, and the policy stopped nothing of its own
        urls = [
            one["params"]["request"]["url"] for one in opened.events if one["method"] == "Network.requestWillBeSent"
        ]
        assert urls
        assert all(url.startswith((f"http://127.0.0.1:{server.port}/", "blob:", "data:")) for url in urls)
        told = [one["params"]["entry"]["text"] for one in opened.events if one["method"] == "Log.entryAdded"]
        assert [text for text in told if "Content Security Policy" in text] == []
        assert [one for one in opened.events if one["method"] == "Runtime.exceptionThrown"] == []


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "night.png"
    Image.open(SAMPLE).resize((240, 160)).save(path)
    return path


def test_a_photo_goes_in_and_its_result_can_be_seen_and_saved(page, photo, enhancer):
    assert page.value("[...document.getElementById('sampling').options].map(one => one.value)") == ["published", "fast"]
    page.choose("#file", photo)
    page.until(DONE)
    assert "night.png: done in" in page.value("document.getElementById('what').textContent")
    assert page.value("document.getElementById('save').download") == "night_bright.png"
    saved = page.value(
        "(async () => { const image = document.getElementById('after'), area = document.createElement('canvas');"
        "area.width = image.naturalWidth; area.height = image.naturalHeight;"
        "area.getContext('2d').drawImage(image, 0, 0);"
        "return area.toDataURL().split(',')[1]; })()"
    )
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(saved))).convert("RGB"))
    np.testing.assert_array_equal(shown, enhancer(read_photo(photo).pixels))


def test_the_slider_works_by_keyboard_and_pointer(page, photo, tmp_path):
    page.choose("#file", photo)
    page.until(f"{DONE} && document.activeElement.id === 'slider'")
    for key, at in (("ArrowRight", "51"), ("Home", "0"), ("End", "100")):
        page.press(key)
        assert page.value("document.getElementById('slider').value") == at
        assert page.value("getComputedStyle(document.getElementById('view')).getPropertyValue('--at')") == f"{at}%"
    middle = page.value("(() => { const box = document.getElementById('view').getBoundingClientRect();"
                        "return [box.left + box.width / 4, box.top + box.height / 2]; })()")  # fmt: skip
    page("Input.dispatchMouseEvent", type="mousePressed", x=middle[0], y=middle[1], button="left", clickCount=1)
    page("Input.dispatchMouseEvent", type="mouseReleased", x=middle[0], y=middle[1], button="left", clickCount=1)
    assert page.value("document.getElementById('slider').value") == "25"


def test_another_sampling_makes_another_picture(page, photo):
    page.choose("#file", photo)
    page.until(DONE)
    first = page.value("document.getElementById('after').src")
    page.value("(list => { list.value = 'fast'; list.dispatchEvent(new Event('change')); })"
               "(document.getElementById('sampling'))")  # fmt: skip
    page.until(f"{DONE} && document.getElementById('after').src !== {first!r}")


def test_errors_are_shown(page, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("no photo")
    page.choose("#file", bad)
    page.until("!document.getElementById('error').hidden")
    assert "it is not a known photo" in page.value("document.getElementById('error').textContent")
    assert page.value("document.getElementById('result').hidden && document.getElementById('save').hidden")


def test_a_narrow_window_and_the_dark(page, photo):
    light = page.value("getComputedStyle(document.body).backgroundColor")
    page("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page.value("getComputedStyle(document.body).backgroundColor") != light
    page.size(320, 640, mobile=True)
    page.choose("#file", photo)
    page.until(DONE)
    assert page.value("document.documentElement.scrollWidth") == 320


def test_a_tiff_is_shown_as_png(page, tmp_path):
    path = tmp_path / "night.tiff"
    Image.open(SAMPLE).resize((48, 32)).save(path)
    page.choose("#file", path)
    page.until("document.getElementById('what').textContent.includes('cannot show the photo as it was')")
    assert page.value("document.getElementById('save').download") == "night_bright.png"


def test_the_policy(server):
    code, headers, _ = server.send("/")
    assert code == 200
    assert headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "unsafe" not in headers["content-security-policy"]
