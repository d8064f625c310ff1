"""Raw frames with time stamps, as a Matroska stream that ffmpeg reads from a pipe.

ffmpeg's raw video has no time stamps, and a mean frame rate would move the frames of a clip of variable rate. One tick
is a nanosecond, so that every time base of a source can be found again. Source of the element numbers: RFC 9559.
"""

from __future__ import annotations

from fractions import Fraction

_UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
_RGB24 = b"RGB\x18"  # ffmpeg's code of rgb24 (libavcodec/raw.c)


def header(width: int, height: int, frame_rate: Fraction) -> bytes:
    """What the stream begins with. frame_rate: the mean, from which the last frame's duration is told."""
    document = _element("4282", b"matroska") + _element("4287", _number(4)) + _element("4285", _number(2))
    information = _element("2AD7B1", _number(1)) + _element("4D80", b"diffll") + _element("5741", b"diffll")
    picture = _element("B0", _number(width)) + _element("BA", _number(height)) + _element("2EB524", _RGB24)
    track = b"".join(
        (
            _element("D7", _number(1)),  # its number
            _element("73C5", _number(1)),
            _element("83", _number(1)),  # video
            _element("9C", _number(0)),  # no lacing
            _element("86", b"V_UNCOMPRESSED"),
            _element("23E383", _number(round(1e9 / frame_rate))),  # nanoseconds a frame
            _element("E0", picture),
        )
    )
    segment = bytes.fromhex("18538067") + _UNKNOWN_SIZE
    return (
        _element("1A45DFA3", document) + segment + _element("1549A966", information)
        + _element("1654AE6B", _element("AE", track))
    )  # fmt: skip


def frame_header(time_ns: int, frame_bytes: int) -> bytes:
    """What stands before the bytes of one frame, RGB24. time_ns: its time stamp, 0 or more."""
    block = b"\x81\0\0\x80"  # of track 1, at the cluster's own time, a key frame
    size = 4 + frame_bytes
    before = bytes.fromhex("A3") + _size(size) + block
    time = _element("E7", _number(time_ns))
    return bytes.fromhex("1F43B675") + _size(len(time) + len(before) - 4 + size) + time + before


def _element(number: str, content: bytes) -> bytes:
    return bytes.fromhex(number) + _size(len(content)) + content


def _size(size: int) -> bytes:
    return (size | 1 << 56).to_bytes(8, "big")


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big")
