"""What the commands share."""

from __future__ import annotations

import pytest

from runtime.cli.command import photo_size
from runtime.errors import InputError


def test_a_size_is_width_and_height():
    assert photo_size("1920x1080") == (1920, 1080)
    assert photo_size(" 65536X1 ") == (65536, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("100", "'100' is not WxH"),
        ("100x", "is not WxH"),
        ("1e3x5", "is not WxH"),
        ("٣x٣", "is not WxH"),
        ("100x-5", "100x-5 is smaller than 1x1"),
        ("0x100", "smaller than 1x1"),
        ("65537x1", "a side over 65536 pixels"),
    ],
)
def test_what_is_no_size_is_told(text, words):
    with pytest.raises(InputError, match=words):
        photo_size(text)
