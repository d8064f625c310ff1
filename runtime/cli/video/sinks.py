"""Where bright frames go: a file with the source's sound, or raw bytes on a pipe."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...machine.files import write_file
from .clip import COLOUR, LOCAL, Clip
from .ffmpeg import Process, every_frame, failure, program
from .matroska import frame_header, header

_X264 = "-c:v libx264 -crf 18"
FORMATS = {
    ".mp4": ("mp4", _X264, "mov_text"),
    ".m4v": ("mp4", _X264, "mov_text"),
    ".mov": ("mov", _X264, "mov_text"),
    ".mkv": ("matroska", _X264, "srt"),
    ".webm": ("webm", "-c:v libvpx-vp9 -crf 24 -b:v 0 -row-mt 1", "webvtt"),
}
"""Suffix -> ffmpeg's name of the format, the encoder's default options, and its codec for subtitles of text."""
_TEXT = {"mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text"}


def check_target(path: Path, overwrite: bool) -> None:
    """Refuse, before any work, a file that cannot be written. Raises InputError."""
    if path.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise InputError(f"cannot write {path}: the suffix {path.suffix!r} is no video's here; use one of {known}.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {path}: {path.parent} is no folder that can be written; choose another -o.")
    if os.path.lexists(path) and not overwrite:
        raise InputError(f"cannot write {path}: it exists already; choose another name or allow it (--overwrite).")


class Sink:
    """Takes frames; ffmpeg encodes them beside."""

    def __init__(self, process: Process, path: Path) -> None:
        self._process, self._path, self.shift_ns = process, path, 0

    def write(self, pixels: NDArray[np.uint8], time_ns: int) -> None:
        """pixels: (H, W, 3) uint8, RGB, C-contiguous."""
        try:
            self._process.stdin.write(frame_header(time_ns + self.shift_ns, pixels.nbytes))
            self._process.stdin.write(pixels.data)
        except OSError:
            self._process.wait()
            raise self._failure() from None

    def finish(self) -> None:
        """Wait until all is encoded. Raises InputError where it could not be."""
        try:
            self._process.stdin.close()
        except OSError:
            self._process.wait()
            raise self._failure() from None
        if self._process.wait():
            raise self._failure()

    def _failure(self) -> InputError:
        cure = 'free space, choose another -o, or other encoder options (--encoder "-c:v ...")'
        return failure(f"cannot write {self._path}", self._process, cure)


@contextmanager
def file_sink(
    path: Path,
    clip: Clip | None,
    size: tuple[int, int],
    frame_rate: Fraction,
    *,
    first_ns: int = 0,
    encoder: str | None = None,
    overwrite: bool = False,
) -> Iterator[Sink]:
    """A sink for (width, height) frames that becomes ``path`` when the block ends without an exception.

    clip: where sound, subtitles, chapters, attachments and tags come from; None for a camera or a pipe. first_ns: time
    stamp of the first frame. encoder: ffmpeg's options for the picture, in place of the format's default.
    Raises InputError (a full disk, an encoder that this ffmpeg lacks).
    """
    try:
        with write_file(path, overwrite=overwrite) as file:
            command = _command(Path(file.name), path.suffix.lower(), clip, size, encoder, min(first_ns, 0))
            process = Process(command, stdin=-1, stdout=-3, bufsize=0)
            try:
                sink = Sink(process, path)
                sink.shift_ns = -min(first_ns, 0)
                process.stdin.write(header(*size, frame_rate))
                yield sink
                sink.finish()
            finally:
                process.kill()
    except FileExistsError:
        raise InputError(f"cannot write {path}: it appeared meanwhile; choose another name or --overwrite.") from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; free space or choose another -o.") from error


def _command(
    work: Path, suffix: str, clip: Clip | None, size: tuple[int, int], encoder: str | None, shift_ns: int
) -> list[str]:
    kind, default, _ = FORMATS[suffix]
    begin = [program("ffmpeg"), "-v", "error", "-nostdin", "-y", "-copyts"]
    moved = ["-itsoffset", f"{shift_ns}ns"] if shift_ns else []
    frames = [*moved, "-f", "matroska", "-i", "pipe:0"]
    ends = ["-f", kind, f"file:{work}"]
    picture = [*every_frame(), "-c:v:0", *_encoder(encoder or default)]
    if clip is None:
        even = "yuv420p" if size[0] % 2 == size[1] % 2 == 0 else "yuv444p"
        return [*begin, *frames, "-map", "0:v:0", *picture, "-vf", f"format={even}", *ends]
    base = clip.time_base
    exact = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    wide = "pc" if clip.full_range else "tv"
    filters = f"scale=out_color_matrix={clip.matrix}:out_range={wide}:{exact},format={clip.chroma}"
    if clip.aspect not in ("1:1", "0:1", "N/A"):
        filters += f",setsar={clip.aspect.replace(':', '/')}"
    # by the frames: what options of the encoder say here, a newer ffmpeg takes from them
    filters += ",setparams=" + ":".join(f"{name}={clip.colour.get(name, 'unknown')}" for name in COLOUR.values())
    picture += ["-vf", filters, "-enc_time_base", f"{base.numerator}:{base.denominator}"]
    if kind in ("mp4", "mov"):
        picture += ["-video_track_timescale", str(base.denominator)]
    tags = ["-map_metadata", "1", "-map_chapters", "1", "-map_metadata:s:v:0", f"1:s:{clip.stream}"]
    beside = ["-max_muxing_queue_size", "9999", *_others(clip, suffix), *tags]
    source = [*LOCAL, "-i", f"file:{clip.path}"]
    return [*begin, *frames, *source, "-map", "0:v:0", *beside, *picture, *ends]


def _encoder(options: str) -> Sequence[str]:
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise InputError(f"--encoder {options!r} cannot be read ({error}); check its quotes.") from error
    if words[:1] == ["-c:v"] and len(words) > 1:
        return words[1:]
    raise InputError(f'--encoder {options!r} does not begin with the codec; write it as "-c:v libx265 -crf 20".')


def _others(clip: Clip, suffix: str) -> list[str]:
    """The streams beside the picture, copied; subtitles of text are rewritten where the format has its own kind."""
    same = clip.path.suffix.lower() == suffix
    words: list[str] = []
    counts: dict[str, int] = {"v": 1}
    left: list[str] = []
    for stream in clip.others:
        number, codec = stream["index"], str(stream.get("codec_name", "unknown"))
        if stream.get("codec_tag_string") == "text" and codec == "bin_data":
            continue  # QuickTime's list of chapters, which are copied as chapters
        kind = {"audio": "a", "subtitle": "s", "video": "v", "attachment": "t"}.get(str(stream.get("codec_type")), "")
        if not kind or (kind == "t" and suffix != ".mkv"):
            left.append(f"stream {number} ({stream.get('codec_type')}, {codec})")
            continue
        at = counts.get(kind, 0)
        counts[kind] = at + 1
        copied = "copy"
        if kind == "s" and not same and codec in _TEXT:
            copied = FORMATS[suffix][2]
        words += ["-map", f"1:{number}", f"-c:{kind}:{at}", copied]
    if left:
        print(f"left out, for this format cannot hold it: {', '.join(left)}", file=sys.stderr)
    return words


class PipeSink:
    """Raw RGB24 frames on a pipe, such as stdout."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, pixels: NDArray[np.uint8], time_ns: int) -> None:
        self._stream.write(pixels.data)
        self._stream.flush()
