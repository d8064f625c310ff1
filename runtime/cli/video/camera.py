"""The program that reads a camera: ffmpeg for a device or an address, gst-launch for a pipeline of the user's own."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from fractions import Fraction

from ...errors import InputError
from .ffmpeg import program
from .sources import LiveSource

GSTREAMER = "gst:"
_TIMEOUT_US = "10000000"  # an address that does not answer


def is_camera(name: str) -> bool:
    return name.startswith(("/dev/video", "rtsp://", "rtsps://", GSTREAMER))


def open_camera(name: str, size: tuple[int, int] | None, frame_rate: Fraction | None) -> LiveSource:
    """Start reading ``name``. size: (width, height) asked of a device; a GStreamer pipeline needs it.

    Raises InputError, and BackendUnavailableError where ffmpeg or gst-launch-1.0 is missing.
    """
    if name.startswith(GSTREAMER):
        if size is None:
            raise InputError(f"{name}: the size of a GStreamer pipeline's frames is not known; give --size WxH.")
        return LiveSource(_gstreamer(name.removeprefix(GSTREAMER), size), *size, frame_rate or Fraction(30))
    options = _options(name, size, frame_rate)
    width, height, found = _probe(name, options)
    read = [program("ffmpeg"), "-v", "error", "-nostdin", "-fflags", "nobuffer", *options, "-i", name]
    write = ["-map", "0:v:0", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    return LiveSource([*read, *write], width, height, frame_rate or found)


def _options(name: str, size: tuple[int, int] | None, frame_rate: Fraction | None) -> list[str]:
    if not name.startswith("/dev/"):
        if size is not None:
            raise InputError(f"{name}: a camera on the network chooses the size of its frames; leave --size out.")
        return ["-rtsp_transport", "tcp", "-timeout", _TIMEOUT_US]
    if not sys.platform.startswith("linux"):
        cure = "give the camera as a GStreamer pipeline: gst:avfvideosrc --size WxH"
        raise InputError(f"{name}: devices of this name are Linux's; {cure}.")
    asked = [] if size is None else ["-video_size", f"{size[0]}x{size[1]}"]
    return ["-f", "v4l2", *asked, *([] if frame_rate is None else ["-framerate", str(frame_rate)])]


def _probe(name: str, options: list[str]) -> tuple[int, int, Fraction]:
    shown = ["-select_streams", "v:0", "-of", "json", "-show_streams", name]
    asked = subprocess.run([program("ffprobe"), "-v", "error", *options, *shown], capture_output=True, check=False)
    try:
        stream = json.loads(asked.stdout)["streams"][0]
        numerator, _, denominator = stream["r_frame_rate"].partition("/")
        return int(stream["width"]), int(stream["height"]), Fraction(int(numerator), int(denominator))
    except (ValueError, LookupError, ZeroDivisionError) as error:
        words = asked.stderr.decode("utf-8", "replace").strip().splitlines()
        said = words[-1] if words else "it sends no picture"
        raise InputError(f"cannot open the camera {name} ({said}); check its name and that nothing uses it.") from error


def _gstreamer(pipeline: str, size: tuple[int, int]) -> list[str]:
    caps = f"video/x-raw,format=RGB,width={size[0]},height={size[1]}"
    try:
        elements = shlex.split(pipeline)
    except ValueError as error:
        raise InputError(f"the GStreamer pipeline {pipeline!r} cannot be read ({error}); check its quotes.") from error
    tail = ["!", "videoconvert", "!", "videoscale", "!", caps, "!", "fdsink", "fd=1"]
    return [program("gst-launch-1.0"), "-q", *elements, *tail]
