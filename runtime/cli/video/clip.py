"""What a clip is, asked of ffprobe, and what of it cannot be brightened as it is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ...errors import InputError
from .ffmpeg import program

LOCAL = ["-protocol_whitelist", "file,pipe"]  # a playlist must not make ffmpeg fetch from the network
COLOUR = {
    "color_range": "range",
    "color_space": "colorspace",
    "color_primaries": "color_primaries",
    "color_transfer": "color_trc",
}
"""ffprobe's names of what a stream says of its colours -> those of ffmpeg's setparams filter."""
_HDR = {"smpte2084": "HDR (PQ)", "arib-std-b67": "HDR (HLG)"}


@dataclass(frozen=True)
class Clip:
    """The picture stream of a file, and what lies beside it."""

    path: Path
    stream: int
    """Number of the picture stream in the file."""
    width: int
    """Of the frames as they are stored: before ``rotation``."""
    height: int
    rotation: int
    """Degrees by which a player turns the frames clockwise: 0, 90, 180 or 270. ffmpeg turns them when it decodes."""
    time_base: Fraction
    """Seconds a tick of its time stamps."""
    frame_rate: Fraction
    """The mean, frames a second."""
    frames: int
    """As the file says, or as duration and rate let expect; 0: not known."""
    duration_s: float
    """0: not known."""
    chroma: str
    """``yuv420p``, ``yuv422p`` or ``yuv444p``: the 8-bit format nearest to the source's."""
    aspect: str
    """Width to height of a pixel, such as "1:1"."""
    colour: Mapping[str, str]
    """``range``, ``colorspace``, ``color_primaries`` and ``color_trc`` of the filter setparams, where it is said."""
    others: tuple[Mapping[str, Any], ...]
    """ffprobe's words on the other streams."""

    @property
    def matrix(self) -> str:
        """The matrix of the scale filter between the source's Y'CbCr and RGB. A file that says none is converted
        there and back by the same one."""
        return {"bt709": "bt709", "fcc": "fcc", "smpte240m": "smpte240m", "bt2020nc": "bt2020"}.get(
            self.colour.get("colorspace", ""), "bt601"
        )

    @property
    def full_range(self) -> bool:
        return self.colour.get("range") == "pc"


def read_clip(path: Path) -> Clip:
    """Ask ffprobe. Raises InputError for a file that is no clip, or whose frames would lose by 8 bits or RGB, and
    BackendUnavailableError where ffprobe is missing."""
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the name.") from error
    command = [program("ffprobe"), "-v", "error", *LOCAL, "-of", "json", "-show_streams", "-show_format"]
    asked = subprocess.run([*command, f"file:{path}"], capture_output=True, check=False)
    words = asked.stderr.decode("utf-8", "replace").strip().splitlines()
    try:
        answer = json.loads(asked.stdout)
        streams = answer["streams"]
    except (ValueError, KeyError):
        streams = []
    if asked.returncode or not streams:
        said = words[-1] if words else "no streams"
        raise InputError(f"cannot read {path}: it is no video, or damaged ({said}); give a clip that ffmpeg can play.")
    pictures = [one for one in streams if one.get("codec_type") == "video" and not _is_cover(one)]
    if not pictures:
        found = ", ".join(sorted({str(one.get("codec_type")) for one in streams}))
        raise InputError(f"cannot read {path}: it has no video stream, only {found}; give a clip with a picture.")
    picture = pictures[0]
    _check(path, picture)
    rate = _fraction(picture.get("avg_frame_rate")) or _fraction(picture.get("r_frame_rate")) or Fraction(25)
    duration = float(picture.get("duration") or answer.get("format", {}).get("duration") or 0)
    return Clip(
        path=path,
        stream=int(picture["index"]),
        width=int(picture["width"]),
        height=int(picture["height"]),
        rotation=_rotation(picture),
        time_base=_fraction(picture["time_base"]) or Fraction(1, 1000),
        frame_rate=rate,
        frames=int(picture.get("nb_frames") or 0) or round(duration * rate),
        duration_s=duration,
        chroma=_chroma(picture),
        aspect=str(picture.get("sample_aspect_ratio", "1:1")),
        colour=_colour(picture),
        others=tuple(one for one in streams if one is not picture),
    )


def _is_cover(stream: Mapping[str, Any]) -> bool:
    return bool(stream.get("disposition", {}).get("attached_pic"))


def _check(path: Path, picture: Mapping[str, Any]) -> None:
    kind, begin = str(picture.get("pix_fmt", "")), f"cannot read {path}: it is"
    if picture.get("color_transfer") in _HDR:
        named = _HDR[picture["color_transfer"]]
        raise InputError(f"{begin} {named}, which 8-bit frames cannot hold; convert it to SDR first (tone mapping).")
    deep = next((bits for bits in ("9", "10", "12", "14", "16") if kind.endswith((f"p{bits}le", f"p{bits}be"))), "")
    if deep or kind.startswith(("p010", "p016", "p210", "p216", "p410", "p416", "rgb48", "gray1", "x2rgb10")):
        bits = deep or "more than 8"
        cure = f"`ffmpeg -i {path.name} -pix_fmt yuv420p -c:a copy 8bit.mkv` makes one of 8 bits"
        raise InputError(f"{begin} a clip of {bits} bits ({kind}), and frames of 8 bits are brightened here; {cure}.")
    if picture.get("field_order") in ("tt", "bb", "tb", "bt"):
        cure = f"`ffmpeg -i {path.name} -vf bwdif -c:a copy frames.mkv` makes whole frames"
        raise InputError(f"{begin} interlaced, and two half pictures cannot be brightened as one; {cure}.")


def _fraction(text: object) -> Fraction | None:
    """ffprobe's "a/b"; None for 0/0 or no text."""
    try:
        return Fraction(str(text)) or None
    except (ValueError, ZeroDivisionError):
        return None


def _rotation(picture: Mapping[str, Any]) -> int:
    for data in picture.get("side_data_list", ()):
        if "rotation" in data:
            return int(-round(float(data["rotation"]) / 90) * 90) % 360
    return 0


def _chroma(picture: Mapping[str, Any]) -> str:
    kind = str(picture.get("pix_fmt", ""))
    named = [chroma for chroma in ("420", "422", "444") if chroma in kind]
    chroma = named[0] if named else "444" if "rgb" in kind or "gbr" in kind else "420"
    # half a chroma sample cannot be stored by most encoders: the size of the picture is kept instead
    if (chroma != "444" and picture["width"] % 2) or (chroma == "420" and picture["height"] % 2):
        chroma = "444"
    return f"yuv{chroma}p"


def _colour(picture: Mapping[str, Any]) -> dict[str, str]:
    found = {option: str(picture[name]) for name, option in COLOUR.items() if name in picture}
    found = {option: value for option, value in found.items() if value not in ("unknown", "reserved")}
    if found.get("colorspace") == "gbr":  # RGB is stored as Y'CbCr here
        del found["colorspace"]
    if str(picture.get("pix_fmt", "")).startswith("yuvj"):
        found["range"] = "pc"
    return found
